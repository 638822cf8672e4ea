//! Members that are shut out, that call too often, and whose coordinator was taken over from, over real connections.

use bitloop_proto::identity::{Identity, JoinError, Joining, Membership, RenewError, Role};
use bitloop_proto::transport::{Connection, Endpoint};
use bitloop_proto::v1::membership_client::MembershipClient;

use super::security::{PATIENCE, Secured, list, stranger};
use super::*;
use crate::security::TokenTerms;

/// Revokes as the administrator of this machine; returns the member's name and whether it was in before.
async fn revoke(secured: &Secured, name: &str) -> Result<(String, bool), Code> {
    let admin = secured.connect(&secured.security.admin_folder()).await.unwrap();
    let request = v1::RevokeRequest { name: name.to_owned() };
    let answer = MembershipClient::new(admin).revoke(request).await.map_err(|status| status.code())?;
    let v1::RevokeResponse { member, is_new } = answer.into_inner();
    Ok((member, is_new))
}

#[tokio::test]
async fn a_member_that_is_shut_out_loses_its_connections_and_gets_no_others() {
    let secured = Secured::start().await;
    let admin = secured.connect(&secured.security.admin_folder()).await.unwrap();
    store_all(&mut Client::new(admin.clone())).await;
    let experiment = submit_plan(&mut Client::new(admin), "watched").await;
    let token = secured.token(Role::Read);
    let joining = Joining::new(vec![secured.endpoint.clone()], token).unwrap();
    let identity = joining.attempt().await.unwrap();
    let (name, folder) = (identity.member().name.clone(), secured.folder.path().join("own"));
    identity.save(&folder).unwrap();
    let open = secured.connect(&folder).await.unwrap();
    let watched = v1::WatchExperimentRequest { experiment };
    let mut watched = Client::new(open).watch_experiment(watched).await.unwrap().into_inner();
    assert!(watched.message().await.unwrap().is_some());
    let other = secured.join(Role::Read).await;

    assert_eq!(revoke(&secured, &name).await, Ok((name.clone(), true)));

    // Nothing more happens to the experiment, so that only the end of the connection ends this.
    let cut = tokio::time::timeout(PATIENCE, watched.message()).await.expect("the connection is cut");
    assert!(cut.is_err(), "{cut:?}");
    let refused = Client::new(secured.connect(&folder).await.unwrap())
        .list_experiments(v1::ListExperimentsRequest {})
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    assert!(refused.message().contains("is revoked"), "{refused}");
    let renewed =
        Membership::open(&folder).unwrap().renew(std::slice::from_ref(&secured.endpoint)).await.unwrap_err();
    assert!(matches!(&renewed, RenewError::Join(JoinError::Refused(_))), "{renewed}");
    // Nor does the token that it came with let the same key in again, as it does when an answer was lost.
    let again = joining.attempt().await.unwrap_err();
    assert!(matches!(&again, JoinError::Refused(text) if text.contains("is revoked")), "{again}");
    assert_eq!(revoke(&secured, &name).await, Ok((name, false)));
    assert_eq!(list(other).await, Ok(1), "others stay");
}

#[tokio::test]
async fn a_worker_is_shut_out_by_its_own_name_too() {
    let secured = Secured::start().await;
    let mut worker = Client::new(secured.join(Role::Worker).await);
    worker.register(registration("host-1-a-0")).await.unwrap();

    let (member, is_new) = revoke(&secured, "host-1-a-0").await.unwrap();
    let unknown = revoke(&secured, "host-1-b-0").await;

    assert!(is_new && secured.folder.path().join(&member).exists(), "the member's own name");
    assert_eq!(unknown, Err(Code::NotFound));
    // The connection may just be cut, or the next one be refused.
    assert!(worker.register(registration("host-1-a-0")).await.is_err());
}

#[tokio::test]
async fn an_administrator_who_shuts_out_the_own_identity_finds_a_new_one() {
    let secured = Secured::start().await;
    let folder = secured.security.admin_folder();
    let stolen = secured.folder.path().join("stolen");
    let before = Membership::open(&folder).unwrap().member();
    Identity::load(&folder).unwrap().save(&stolen).unwrap();

    assert_eq!(revoke(&secured, &before.name).await, Ok((before.name.clone(), true)));

    assert_eq!(list(secured.connect(&stolen).await.unwrap()).await, Err(Code::Unauthenticated));
    assert_eq!(list(secured.connect(&folder).await.unwrap()).await, Ok(0));
    assert_ne!(Membership::open(&folder).unwrap().member().name, before.name);
}

#[tokio::test]
async fn joining_and_renewing_find_the_coordinator_that_works() {
    let secured = Secured::start().await;
    // One that stands by listens to nobody.
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", gone.local_addr().unwrap());
    drop(gone);
    let endpoints = vec![Endpoint::parse(&url).unwrap(), secured.endpoint.clone()];
    let folder = secured.folder.path().join("own");

    let joining = Joining::new(endpoints.clone(), secured.token(Role::Read)).unwrap();
    joining.attempt().await.unwrap().save(&folder).unwrap();
    let membership = Membership::open(&folder).unwrap();
    let before = std::fs::read(folder.join("identity.pem")).unwrap();
    membership.renew(&endpoints).await.unwrap();

    assert_ne!(std::fs::read(folder.join("identity.pem")).unwrap(), before);
    let connection = Connection::Secured(endpoints, membership);
    assert_eq!(list(connection.connect().await.unwrap()).await, Ok(0));
}

/// Goal: whoever has no certificate cannot try tokens without end, and is in no member's way.
#[tokio::test]
async fn who_calls_too_often_is_refused_over_the_wire() {
    const BURST: usize = 200;
    // Ten calls a second come back: a machine that is slower than that never gets there, one in use is a thousand times faster.
    const CALLS_MAX: usize = 100 * BURST;
    let secured = Secured::start().await;
    let member = secured.join(Role::Read).await;
    let mut stranger = MembershipClient::new(stranger(&secured).await);
    let guess = v1::JoinRequest { secret: vec![7; 32], public_key: [&[4][..], &[1; 64]].concat() };

    let mut answered = 0;
    let refused = loop {
        assert!(answered < CALLS_MAX, "nothing was refused");
        let status = stranger.join(guess.clone()).await.unwrap_err();
        match status.code() {
            Code::Unauthenticated => answered += 1,
            _ => break status,
        }
    };

    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert!(refused.message().contains("too many calls"), "{refused}");
    // The member's own joining took one.
    assert!(answered >= BURST - 1, "{answered}");
    assert_eq!(list(member).await, Ok(0), "a member has a bucket of its own");
    let token =
        secured.security.issue_token(TokenTerms { role: Role::Read, uses: 1, valid: PATIENCE }).unwrap();
    let late = Joining::new(vec![secured.endpoint.clone()], token).unwrap().attempt().await;
    assert!(late.is_ok() || late.is_err_and(|error| error.is_retryable()), "it may try again");
}
