//! Several authorities: the next one is asked when the first fails, and the first again when it is well.

use switcher_tests::acme::{Kind, Trouble};
use switcher_tests::certificate::put;
use switcher_tests::{App, FakeCa, Setup};

use super::{asking, renew_well, served, shown, status_of};

#[tokio::test]
async fn a_failing_authority_falls_over_to_the_next() {
    let (first, second) = (FakeCa::start().await, FakeCa::start().await);
    let folder = tempfile::tempdir().expect("a folder");
    let both = folder.path().join("both.pem");
    put(&both, &(first.endpoint_pem() + &second.endpoint_pem()));
    first.trouble(Kind::NewOrder, Trouble::Status(503));
    let app = App::start("blue").await;
    let directories = format!("[\"{}\", \"{}\"]", first.directory(), second.directory());
    let proxy = asking(Setup::one(app.upstream()), &directories, &both).start().await;
    let leaf = served(&proxy, &second.strict(), "shop.test").await;
    assert_eq!((first.orders().len(), second.orders().len()), (0, 1));
    assert!(first.count(Kind::NewOrder) > 0, "the first was asked first");
    assert_eq!(status_of(&proxy, "shop.test").await.ca, Some(second.directory()));
    first.recover();
    renew_well(&proxy, "shop.test").await;
    assert_ne!(shown(&proxy, &first.strict(), "shop.test").await.serial, leaf.serial);
    assert_eq!(status_of(&proxy, "shop.test").await.ca, Some(first.directory()));
}

#[tokio::test]
async fn each_authoritys_reason_is_told_when_all_fail() {
    let (first, second) = (FakeCa::start().await, FakeCa::start().await);
    let folder = tempfile::tempdir().expect("a folder");
    let both = folder.path().join("both.pem");
    put(&both, &(first.endpoint_pem() + &second.endpoint_pem()));
    let app = App::start("blue").await;
    let directories = format!("[\"{}\", \"{}\"]", first.directory(), second.directory());
    let proxy = asking(Setup::one(app.upstream()), &directories, &both).start().await;
    let leaf = served(&proxy, &first.strict(), "shop.test").await;
    first.behave(|b| b.refuse = Some("no route to shop.test".to_owned()));
    second.trouble(Kind::NewAccount, Trouble::Html);
    let problem = super::renew(&proxy, "shop.test").await.problem.expect("a problem");
    for word in ["no route to shop.test", &first.directory(), &second.directory()] {
        assert!(problem.contains(word), "{word}: {problem}");
    }
    assert_eq!(shown(&proxy, &first.strict(), "shop.test").await, leaf);
}
