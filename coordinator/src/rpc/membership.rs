//! The service of those who join, renew and let others join.

use std::sync::Arc;
use std::time::Duration;

use bitloop_proto::convert::{self, ConvertError};
use bitloop_proto::identity::{Member, Role};
use bitloop_proto::v1;
use bitloop_proto::v1::membership_server::Membership;
use tonic::{Request, Response, Status};
use tracing::{info, warn};

use super::owners::Owners;
use super::peer::Peer;
use super::status;
use crate::security::{Issued, Refusal, Security, TokenTerms, USES_MAX, VALID_MAX};

/// Largest request: a secret and a key.
pub(super) const REQUEST_BYTES_MAX: usize = 4_096;

pub(super) struct Members {
    security: Option<Arc<Security>>,
    owners: Arc<Owners>,
}

type Answer<T> = Result<Response<T>, Status>;

impl Members {
    pub(super) fn new(security: Option<Arc<Security>>, owners: Arc<Owners>) -> Self {
        Self { security, owners }
    }

    fn security(&self) -> Result<Arc<Security>, Status> {
        self.security.clone().ok_or_else(|| {
            Status::failed_precondition(
                "this coordinator has no members: it speaks no TLS; run `bitloop init`",
            )
        })
    }
}

/// Runs what signs and writes to the disk where it holds nobody up.
async fn blocking<T: Send + 'static>(
    body: impl FnOnce() -> Result<T, Status> + Send + 'static,
) -> Result<T, Status> {
    tokio::task::spawn_blocking(body).await.map_err(|_| status::lost_task())?
}

fn certificate(issued: Issued) -> Response<v1::Certificate> {
    Response::new(v1::Certificate {
        certificate: issued.certificate.to_vec(),
        authority: issued.authority.to_vec(),
    })
}

fn refused(refusal: Refusal) -> Status {
    let text = refusal.to_string();
    match refusal {
        Refusal::UnknownToken | Refusal::ExpiredToken | Refusal::UsedToken | Refusal::Revoked => {
            Status::unauthenticated(text)
        }
        Refusal::PublicKey => Status::invalid_argument(text),
        Refusal::Storage => Status::unavailable(text),
    }
}

fn terms(request: &v1::IssueTokenRequest) -> Result<TokenTerms, Status> {
    let unreadable = |error: ConvertError| status::unreadable(&error);
    let role = Role::from_wire(request.role).map_err(unreadable)?;
    let valid = Duration::from_secs(request.valid_seconds);
    if !(1..=USES_MAX).contains(&request.uses) || valid.is_zero() || valid > VALID_MAX {
        return Err(Status::invalid_argument(format!(
            "a token is for 1 to {USES_MAX} uses, and for {} days at most",
            VALID_MAX.as_secs() / (24 * 60 * 60)
        )));
    }
    Ok(TokenTerms { role, uses: request.uses, valid })
}

#[tonic::async_trait]
impl Membership for Members {
    async fn join(&self, request: Request<v1::JoinRequest>) -> Answer<v1::Certificate> {
        let security = self.security()?;
        let v1::JoinRequest { secret, public_key } = request.into_inner();
        let admitted = blocking(move || {
            let issued = security.admit(&secret, &public_key);
            if let Err(refusal) = issued {
                warn!(%refusal, "somebody was not let in");
            }
            issued.map_err(refused)
        });
        let issued = admitted.await?;
        let member = Member::of_certificate(&issued.certificate);
        info!(member = %member.map(|member| member.to_string()).unwrap_or_default(), "joined");
        Ok(certificate(issued))
    }

    async fn renew(&self, request: Request<v1::RenewRequest>) -> Answer<v1::Certificate> {
        let security = self.security()?;
        let Some(Peer::Member(member)) = request.extensions().get::<Peer>().cloned() else {
            return Err(Status::unauthenticated("only a member has a certificate to renew"));
        };
        let public_key = request.into_inner().public_key;
        info!(%member, "certificate renewed");
        blocking(move || security.renew(&member, &public_key).map_err(refused)).await.map(certificate)
    }

    async fn issue_token(&self, request: Request<v1::IssueTokenRequest>) -> Answer<v1::IssueTokenResponse> {
        let security = self.security()?;
        let terms = terms(&request.into_inner())?;
        let issue = move || security.issue_token(terms).map_err(|error| Status::internal(error.to_string()));
        let token = blocking(issue).await?;
        info!(role = %terms.role, uses = terms.uses, "token made");
        Ok(Response::new(v1::IssueTokenResponse { token: token.reveal() }))
    }

    async fn revoke(&self, request: Request<v1::RevokeRequest>) -> Answer<v1::RevokeResponse> {
        let security = self.security()?;
        let named = convert::name("name", request.into_inner().name);
        let named = named.map_err(|error| status::unreadable(&error))?;
        // Names of workers have a `-`, those of members have none.
        let member = self.owners.owner(&named).unwrap_or(named);
        if !Member::is_name(&member) {
            return Err(Status::not_found(format!(
                "{member} is neither a member's name, as `joined` in the coordinator's log has it, nor a worker that has \
                 registered since the coordinator's start"
            )));
        }
        let name = member.clone();
        let revoke = move || security.revoke(&name).map_err(|error| Status::internal(error.to_string()));
        let is_new = blocking(revoke).await?;
        info!(member, "revoked");
        Ok(Response::new(v1::RevokeResponse { member, is_new }))
    }
}
