//! `bitloop init`, `join`, `token` and `revoke`: who may use a coordinator that other machines reach.

use std::time::Duration;

use bitloop_coordinator::DataDir;
use bitloop_coordinator::security::{Security, TokenTerms, VALID_MAX};
use bitloop_proto::identity::{IdentityError, Membership, Role};
use serde_json::json;

use crate::args::{InitArguments, JoinArguments, Output, RevokeArguments, TokenArguments, TokenUse};
use crate::client::Client;
use crate::failure::{Failure, Outcome};
use crate::identity;
use crate::show;

/// How long `join` waits for a coordinator, as other commands do.
const JOIN_PATIENCE: Duration = Duration::from_secs(10);

pub(super) fn init(arguments: &InitArguments, output: Output) -> Outcome {
    check(arguments.token)?;
    let root = &arguments.data.data_dir;
    // A coordinator that runs would go on with what it has read.
    let directory = DataDir::open(root)?;
    let security = Security::init(root, &arguments.names)?;
    let TokenUse { uses, valid } = arguments.token;
    let token = security.issue_token(TokenTerms { role: Role::Worker, uses, valid })?;
    drop(directory);
    let names: Vec<String> = security.names().iter().map(ToString::to_string).collect();
    let (admin, metrics) = (security.admin_folder(), security.metrics_token_file());
    match output {
        Output::Json => show::json(&json!({
            "token": token.reveal(),
            "authority": token.authority().to_string(),
            "names": names,
            "admin_identity": admin,
            "metrics_token_file": metrics,
        }))?,
        Output::Text => {
            let names = if names.is_empty() { "this machine alone".to_owned() } else { names.join(", ") };
            show::note(&format!("authority {}, for {names}", token.authority()));
            show::note(&format!("administrator's identity: {}", admin.display()));
            show::note(&format!("token for /metrics: {}", metrics.display()));
            show::note(&format!("a join token for {}, shown only now:", holders(uses)));
            show::data(&token.reveal())?;
        }
    }
    Ok(())
}

fn holders(uses: u32) -> String {
    match uses {
        1 => "one worker".to_owned(),
        many => format!("{many} workers"),
    }
}

fn check(token: TokenUse) -> Result<(), Failure> {
    if token.valid < Duration::from_secs(1) || token.valid > VALID_MAX {
        return Err(Failure::usage("--valid is from 1s to 8760h"));
    }
    Ok(())
}

pub(super) async fn join(arguments: &JoinArguments, output: Output) -> Outcome {
    let endpoints = identity::endpoints(&arguments.remote.coordinator)?;
    let Some(folder) = &arguments.remote.identity.identity else {
        return Err(Failure::usage("say where to keep the identity: --identity DIR"));
    };
    match Membership::open(folder) {
        Ok(membership) => {
            let member = membership.member();
            return Err(Failure::usage(format!(
                "{} holds the identity {member} already; choose another folder, or remove it",
                folder.display()
            )));
        }
        Err(IdentityError::NotThere(_) | IdentityError::Expired(_)) => {}
        Err(error @ (IdentityError::File { .. } | IdentityError::Damaged { .. })) => return Err(error.into()),
    }
    let token = identity::token(arguments.token_file.as_deref())?;
    let token = token.ok_or_else(|| {
        Failure::usage("no join token is given; name its file with --token-file, or set BITLOOP_JOIN_TOKEN")
    })?;
    let joined = identity::join(&endpoints, token, Some(JOIN_PATIENCE)).await?;
    joined.save(folder)?;
    let member = joined.member();
    match output {
        Output::Json => {
            show::json(&json!({ "role": member.role.word(), "name": member.name, "identity": folder }))
        }
        Output::Text => {
            show::note(&format!("joined as {member}; name the folder with --identity or BITLOOP_IDENTITY"));
            show::data(&folder.display().to_string())
        }
    }
}

pub(super) async fn token(arguments: &TokenArguments, output: Output) -> Outcome {
    check(arguments.token)?;
    let TokenUse { uses, valid } = arguments.token;
    let mut client = Client::connect(&arguments.remote).await?;
    let token = client.issue_token(TokenTerms { role: arguments.role, uses, valid }).await?;
    match output {
        Output::Json => show::json(&json!({ "token": token, "role": arguments.role.word(), "uses": uses })),
        Output::Text => show::data(&token),
    }
}

pub(super) async fn revoke(arguments: &RevokeArguments, output: Output) -> Outcome {
    let mut client = Client::connect(&arguments.remote).await?;
    let (member, is_new) = client.revoke(&arguments.name).await?;
    match output {
        Output::Json => show::json(&json!({ "member": member, "is_new": is_new })),
        Output::Text => {
            let before = if is_new { "" } else { ", as it was before" };
            show::note(&format!("{member} is shut out{before}: its connections end, and it gets no others"));
            Ok(())
        }
    }
}
