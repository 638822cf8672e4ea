//! Whether a coordinator can be reached: step by step, so that the first one that fails is named.

use std::path::Path;
use std::time::Duration;

use bitloop_proto::identity::{Membership, Role};
use bitloop_proto::reach;
use bitloop_proto::transport::{Connection, Endpoint};

use super::{Finding, Verdict};
use crate::client::{Client, Introduction};
use crate::clock;

/// The steps to a coordinator behind its name.
const TCP: &str = "tcp";
const TLS: &str = "tls";
const GRPC: &str = "grpc";

/// Those at which one that stands by is found out: it listens to nobody, and a tunnel to it accepts connections for nobody.
const STANDING_BY: [&str; 3] = [TCP, TLS, GRPC];

/// How long the coordinator's answers may take.
const ANSWERS: Duration = Duration::from_secs(4);

/// Clocks that differ by more make logs hard to compare, and by much more certificates invalid.
const SKEW_SECONDS_WARN: u64 = 10;
const SKEW_SECONDS_FAIL: u64 = 300;

pub(super) fn look(endpoint: &Endpoint, identity: Option<&Path>) -> Vec<Finding> {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(cause) => return vec![Finding::fail("coordinator", cause.to_string())],
    };
    let findings = runtime.block_on(steps(endpoint, identity));
    // A name that is looked up for long is nobody's concern any more.
    runtime.shutdown_background();
    findings
}

/// What is found of several coordinators: where one works, another that does not answer may be standing by.
pub(super) fn of_several(mut found: Vec<Vec<Finding>>) -> Vec<Vec<Finding>> {
    let is_silent =
        |finding: &Finding| STANDING_BY.contains(&finding.check) && finding.verdict == Verdict::Fail;
    let works = |findings: &Vec<Finding>| findings.iter().all(|finding| finding.verdict != Verdict::Fail);
    if found.iter().any(works) {
        for finding in found.iter_mut().flatten().filter(|finding| is_silent(finding)) {
            finding.verdict = Verdict::Warn;
            finding.advice = Some(
                "if it stands by, that is as it should be: another one works, which commands use".to_owned(),
            );
        }
    }
    found
}

async fn steps(endpoint: &Endpoint, identity: Option<&Path>) -> Vec<Finding> {
    let mut findings = Vec::new();
    match connected(endpoint, identity, &mut findings).await {
        Ok(connection) => match tokio::time::timeout(ANSWERS, talk(endpoint, &connection)).await {
            Ok(said) => findings.extend(said),
            Err(_) => findings.push(
                Finding::fail(GRPC, format!("{endpoint} accepts connections and answers no calls"))
                    .advise("see the coordinator's log, and whether its machine is overloaded"),
            ),
        },
        Err(failed) => findings.push(failed),
    }
    findings
}

/// Address, connection and TLS.
async fn connected(
    endpoint: &Endpoint,
    identity: Option<&Path>,
    findings: &mut Vec<Finding>,
) -> Result<Connection, Finding> {
    let addresses =
        reach::resolve(endpoint).await.map_err(|error| Finding::fail("dns", error.to_string()))?;
    let list: Vec<String> = addresses.iter().map(|address| address.ip().to_string()).collect();
    findings.push(Finding::ok("dns", format!("{endpoint} is at {}", list.join(", "))));
    let address = reach::dial(&addresses).await.map_err(|error| Finding::fail(TCP, error.to_string()))?;
    findings.push(Finding::ok(TCP, format!("{address} accepts connections")));
    if !endpoint.is_secured() {
        return Ok(Connection::Url(endpoint.clone()));
    }
    // What is wrong with the identity is a finding of its own.
    let membership = identity.and_then(|folder| Membership::open(folder).ok());
    let membership = membership.ok_or_else(|| {
        Finding::fail(TLS, "not tried, as it needs an identity that is good")
            .advise("name its folder with --identity, or get one with `bitloop join`")
    })?;
    let greeted = reach::greet(endpoint, address, &membership).await;
    greeted.map_err(|error| Finding::fail(TLS, error.to_string()))?;
    findings.push(Finding::ok(TLS, "both sides believe each other's certificates"));
    Ok(Connection::Secured(vec![endpoint.clone()], membership))
}

async fn talk(endpoint: &Endpoint, connection: &Connection) -> Vec<Finding> {
    let role = match connection {
        Connection::Secured(_, membership) => Some(membership.member().role),
        Connection::Url(_) | Connection::Any(_) | Connection::InProcess(_) => None,
    };
    let channel = match connection.connect().await {
        Ok(channel) => channel,
        Err(error) => return vec![Finding::fail(GRPC, error.to_string())],
    };
    let mut client = Client::over(channel, &endpoint.to_string());
    let before = clock::unix_seconds();
    let introduction =
        match client.introduction().await {
            Ok(introduction) => introduction,
            Err(failure) => {
                return vec![Finding::fail(GRPC, format!("{:#}", failure.error)).advise(
                    "check that it is bitloop's --listen address, not its --http or another program's",
                )];
            }
        };
    let mut findings = vec![Finding::ok(GRPC, "the coordinator answers"), version(&introduction)];
    let here = before.midpoint(clock::unix_seconds());
    findings.extend(introduction.unix_seconds.map(|there| skew(here, there)));
    if let Some(role) = role {
        findings.push(Finding::ok("role", may(role)));
    }
    if role.is_none_or(|role| role.includes(Role::Read)) {
        findings.push(match client.workers().await {
            Ok(workers) if workers.is_empty() => Finding::warn("workers", "none is connected")
                .advise("start some with `bitloop worker --coordinator` and this URL"),
            Ok(workers) => Finding::ok("workers", format!("{} connected", workers.len())),
            Err(failure) => Finding::fail("workers", format!("{:#}", failure.error)),
        });
    }
    findings
}

fn version(introduction: &Introduction) -> Finding {
    let own = env!("CARGO_PKG_VERSION");
    match introduction.version.as_deref() {
        Some(version) if version == own => Finding::ok("protocol", format!("both are bitloop {own}")),
        Some(version) => {
            Finding::fail("protocol", format!("the coordinator is bitloop {version}, this is {own}"))
                .advise("use the same version everywhere")
        }
        None => Finding::fail("protocol", format!("the coordinator names no version, this is bitloop {own}"))
            .advise("it is older, or another program; use the same version everywhere"),
    }
}

/// `here` and `there` are dates in seconds since 1970.
fn skew(here: u64, there: u64) -> Finding {
    let apart = here.abs_diff(there);
    let side = if here > there { "ahead of" } else { "behind" };
    let advice = "set both by NTP, as with `timedatectl set-ntp true`";
    match apart {
        0..=1 => Finding::ok("clock", "agrees with the coordinator's"),
        2..SKEW_SECONDS_WARN => Finding::ok("clock", format!("{apart} s {side} the coordinator's")),
        SKEW_SECONDS_WARN..SKEW_SECONDS_FAIL => {
            Finding::warn("clock", format!("{apart} s {side} the coordinator's")).advise(advice)
        }
        _ => Finding::fail("clock", format!("{apart} s {side} the coordinator's"))
            .advise(format!("{advice}; certificates begin and end at dates")),
    }
}

fn may(role: Role) -> String {
    let what = match role {
        Role::Admin => "may do everything",
        Role::Submit => "may submit experiments and read",
        Role::Read => "may read",
        Role::Worker => "may measure, and do nothing that users do",
    };
    format!("{role}, which {what}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_may_differ_by_little() {
        let of = |there| skew(1_000_000, there).verdict;
        assert_eq!(
            [of(1_000_000), of(1_000_005), of(999_940), of(1_000_400)],
            [Verdict::Ok, Verdict::Ok, Verdict::Warn, Verdict::Fail]
        );
        assert_eq!(skew(1_000_000, 999_940).said, "60 s ahead of the coordinator's");
    }

    #[test]
    fn one_that_may_stand_by_is_no_failure_while_another_works() {
        let refused = || vec![Finding::ok("dns", "known"), Finding::fail("tcp", "refused")];
        let works = vec![Finding::ok("tcp", "accepted"), Finding::warn("workers", "none")];
        let verdicts = |found: Vec<Vec<Finding>>| -> Vec<Verdict> {
            of_several(found).into_iter().flatten().map(|finding| finding.verdict).collect()
        };
        use Verdict::{Fail, Ok, Warn};

        assert_eq!(verdicts(vec![refused(), works.clone()]), [Ok, Warn, Ok, Warn]);
        assert_eq!(verdicts(vec![refused(), refused()]), [Ok, Fail, Ok, Fail]);
        let unknown = vec![Finding::fail("dns", "no such name")];
        assert_eq!(verdicts(vec![unknown, works.clone()]), [Fail, Ok, Warn]);
        for step in ["tls", "grpc"] {
            let tunnel = vec![Finding::ok("tcp", "accepted"), Finding::fail(step, "it hangs up")];
            assert_eq!(verdicts(vec![works.clone(), tunnel.clone()]), [Ok, Warn, Ok, Warn]);
            assert_eq!(verdicts(vec![tunnel.clone(), tunnel]), [Ok, Fail, Ok, Fail]);
        }
        let other = vec![Finding::ok("grpc", "answers"), Finding::fail("protocol", "another version")];
        assert_eq!(verdicts(vec![other, works]), [Ok, Fail, Ok, Warn]);
    }

    #[test]
    fn another_version_fails() {
        let of = |version: Option<&str>| version_of(version).verdict;
        assert_eq!(of(Some(env!("CARGO_PKG_VERSION"))), Verdict::Ok);
        assert_eq!(of(Some("0.0.1")), Verdict::Fail);
        assert_eq!(of(None), Verdict::Fail);
    }

    fn version_of(text: Option<&str>) -> Finding {
        version(&Introduction { version: text.map(str::to_owned), unix_seconds: None })
    }
}
