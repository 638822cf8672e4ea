//! Members whose coordinator was taken over from, over real connections.

use bitloop_proto::identity::{Joining, Membership, Role};
use bitloop_proto::transport::{Connection, Endpoint};

use super::security::{Secured, list};
use super::*;

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
