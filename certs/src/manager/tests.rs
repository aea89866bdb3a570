//! The manager's tests: the real loop and a real folder, with authorities that do not answer.

use std::future::Future;
use std::net::TcpListener;

use switcher_config::Span;
use switcher_config::durable::{self, Durability};
use switcher_config::settings::{
    AcmeSettings, ChallengeChoice, Directory, Group, KeyChoice, OnDemand as OnDemandSettings, Retry,
};
use switcher_config::wire::RenewalOutcome;

use super::*;
use crate::fixtures::{Issued, issue};
use crate::folder::Folder;
use crate::lineage::{Issuer, KeyType, Lineage};
use crate::placeholder::placeholder;
use crate::record::Record;
use crate::store::{Source, Wanted};

/// A folder of certificates, an authority that takes connections and says nothing, and one that nobody is at.
struct World {
    root: tempfile::TempDir,
    silent: TcpListener,
    nobody: Directory,
}

impl World {
    fn new() -> Self {
        let listener = || TcpListener::bind("127.0.0.1:0").expect("a port");
        let nobody = at(&listener());
        crate::install_provider();
        Self { root: tempfile::tempdir().expect("a folder"), silent: listener(), nobody }
    }

    fn silent(&self) -> Directory {
        at(&self.silent)
    }

    /// Keeps a certificate for one name, that is valid for decades, as one that this authority issued.
    fn keep(&self, name: &str, ca: &Directory) -> Lineage {
        let (folder, lineage) = (Folder::open(self.root.path()).expect("a folder"), lineage(name));
        let Issued { certificate, key } = issue(&[name]);
        folder.save_record(&Record { ca: Some(ca.url().into()), ..Record::new(&lineage) }).expect("kept");
        folder.save_certificate(&lineage, &key, &certificate).expect("kept");
        lineage
    }

    fn load(&self, plan: Plan) -> (Manager, Work, Arc<Store>) {
        let store = Arc::new(Store::new(plan.wanted.clone()).expect("a store"));
        let (manager, work) = Manager::load(Arc::clone(&store), self.root.path(), plan);
        (manager, work, store)
    }
}

fn at(listener: &TcpListener) -> Directory {
    Directory::Url(format!("https://{}/directory", listener.local_addr().expect("bound")))
}

fn lineage(name: &str) -> Lineage {
    Lineage::new([name.to_owned()], KeyType::Ecdsa, Issuer::Acme).expect("a name")
}

/// These names, each with its own certificate from these authorities; all others on demand.
fn plan(names: &[&str], directories: Vec<Directory>) -> Plan {
    let wanted =
        |name: &&str| Wanted { names: vec![(*name).to_owned()], source: Source::Issued(vec![lineage(name)]) };
    let on_demand = OnDemandSettings {
        ask: "http://127.0.0.1:9/allowed".into(),
        limit: 20,
        window: Span::seconds(3600),
        refusal: Span::seconds(300),
    };
    let acme = AcmeSettings {
        email: None,
        directories,
        challenge: ChallengeChoice::Auto,
        eab: None,
        ca_file: None,
        dns: None,
        resolvers: Vec::new(),
        profile: None,
        key: KeyChoice::Ecdsa,
        group: Group::Host,
        retry: Retry { first: Span::seconds(600), max: Span::seconds(3600) },
        on_demand: Some(on_demand),
    };
    Plan {
        wanted: names.iter().map(wanted).collect(),
        lineages: names.iter().map(|name| lineage(name)).collect(),
        acme: Some(acme),
    }
}

fn request(names: &[&str], force: bool) -> RenewRequest {
    RenewRequest { names: names.iter().map(ToString::to_string).collect(), force }
}

/// What must not take long does not; far below what the silent authority is given.
async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(std::time::Duration::from_secs(15), what).await.expect("it waits in vain")
}

async fn obtain(manager: &Manager, name: &str) -> Option<oneshot::Receiver<Renewal>> {
    let name = name.to_owned();
    soon(manager.ask(|reply| Command::Obtain { name, reply })).await.expect("answered")
}

#[tokio::test]
async fn an_authority_that_is_asked_to_revoke_and_says_nothing_holds_nothing_else_up() {
    let world = World::new();
    world.keep("a.example", &world.silent());
    let (manager, work, _) = world.load(plan(&["a.example"], vec![world.silent()]));
    let _events = work.begin().expect("a thread");
    let meanwhile = async {
        let renewed = manager.renew(request(&["a.example"], false)).await.expect("answered");
        manager.pause(true).await;
        renewed.certificates
    };
    let revoke = manager.revoke(RevokeRequest { name: "a.example".into(), reason: Default::default() });
    let (revoked, renewed) = soon(async { tokio::join!(revoke, meanwhile) }).await;
    assert_eq!(renewed[0].outcome, RenewalOutcome::NotDue);
    assert!(revoked.is_err(), "it was cut off");
}

#[tokio::test]
async fn nobody_waits_for_ever_where_the_folder_cannot_be_used() {
    let world = World::new();
    let file = world.root.path().join("file");
    durable::replace(&file, b"in the way", 0o600, Durability::Synced).expect("written");
    let plan = plan(&["a.example"], vec![world.nobody.clone()]);
    let store = Arc::new(Store::new(plan.wanted.clone()).expect("a store"));
    let (manager, work) = Manager::load(store, &file.join("certs"), plan);
    let _events = work.begin().expect("a thread");
    for force in [true, false] {
        let renewed = soon(manager.renew(request(&[], force))).await.expect("answered");
        let renewal = &renewed.certificates[0];
        assert_eq!(renewal.outcome, RenewalOutcome::Failed);
        assert!(renewal.problem.as_ref().is_some_and(|why| why.contains("file")), "{renewal:?}");
    }
}

#[tokio::test]
async fn who_waits_for_what_is_no_longer_wanted_is_told_so() {
    let world = World::new();
    let (_manager, mut work, _) = world.load(plan(&["a.example"], vec![world.silent()]));
    let mut waiting = work.keeper.demand(&lineage("a.example")).expect("known");
    work.keeper.apply(Plan::default());
    work.keeper.begin_what_is_due();
    let told = waiting.try_recv().expect("told");
    assert_eq!(told.problem.as_deref(), Some("the configuration does not want it any more"));
}

#[tokio::test]
async fn while_the_work_ends_nothing_is_taken_on() {
    let world = World::new();
    world.keep("a.example", &world.nobody);
    let (manager, work, _) = world.load(plan(&["a.example"], vec![world.nobody.clone()]));
    let _events = work.begin().expect("a thread");
    manager.pause(true).await;
    let refused = soon(manager.renew(request(&[], true))).await.expect_err("refused");
    assert_eq!(refused.to_string(), "the proxy is ending; the order is resumed by the next one");
    assert!(soon(manager.import()).await.is_err() && obtain(&manager, "b.example").await.is_none());
    manager.pause(false).await;
    let renewed = soon(manager.renew(request(&[], false))).await.expect("answered");
    assert_eq!(renewed.certificates[0].outcome, RenewalOutcome::NotDue);
}

#[tokio::test]
async fn a_name_that_the_configuration_gave_up_is_served_on_demand_with_what_is_kept() {
    let world = World::new();
    world.keep("a.example", &world.nobody);
    let (manager, work, store) = world.load(plan(&[], vec![world.nobody.clone()]));
    let _events = work.begin().expect("a thread");
    assert!(!store.resolver().knows(Some("a.example")), "nobody came yet");
    let told = soon(obtain(&manager, "a.example").await.expect("obtained")).await.expect("told");
    assert_eq!(told.outcome, RenewalOutcome::NotDue);
    assert!(store.resolver().knows(Some("a.example")));
    let (_, _, store) = world.load(plan(&[], vec![world.nobody.clone()]));
    assert!(store.resolver().knows(Some("a.example")), "also after a restart");
}

#[tokio::test]
async fn a_name_that_could_not_be_obtained_waits_however_often_clients_come() {
    let world = World::new();
    let on_demand = || plan(&[], vec![world.nobody.clone()]);
    let (manager, work, _) = world.load(on_demand());
    let _events = work.begin().expect("a thread");
    let told = soon(obtain(&manager, "a.example").await.expect("tried")).await.expect("told");
    assert_eq!(told.outcome, RenewalOutcome::Failed);
    assert!(obtain(&manager, "a.example").await.is_none(), "the authority is not asked again at once");
    assert!(obtain(&manager, "b.example").await.is_some(), "another name is");
    manager.pause(true).await;
    let (manager, work, _) = world.load(on_demand());
    let _events = work.begin().expect("a thread");
    assert!(obtain(&manager, "a.example").await.is_none(), "nor after a restart");
}

#[tokio::test]
async fn what_was_only_a_trial_is_replaced_when_the_configuration_moves_on() {
    for (directories, outcome) in
        [(vec![Directory::LetsEncryptStaging], RenewalOutcome::NotDue), (Vec::new(), RenewalOutcome::Failed)]
    {
        let world = World::new();
        world.keep("a.example", &Directory::LetsEncryptStaging);
        let directories = [directories, vec![world.nobody.clone()]].concat();
        let (manager, work, store) = world.load(plan(&["a.example"], directories));
        let _events = work.begin().expect("a thread");
        let renewed = soon(manager.renew(request(&[], false))).await.expect("answered");
        assert_eq!(renewed.certificates[0].outcome, outcome, "{renewed:?}");
        assert!(store.resolver().knows(Some("a.example")), "it is served on meanwhile");
    }
}

#[test]
fn what_somebody_waits_for_comes_first_and_then_what_ends_first() {
    let kept = |name: &str, expires: Option<&str>| {
        let lineage = lineage(name);
        let of = |at: &str| placeholder(&[name.to_owned()], at.parse().expect("a time")).expect("made");
        let pair = expires.map(|at| Arc::new(of(at)));
        kept::Kept::new(lineage.clone(), Record::new(&lineage), pair)
    };
    let mut all = [
        kept("a-late.example", Some("2030-01-01T00:00:00Z")),
        kept("b-soon.example", Some("2020-01-01T00:00:00Z")),
        kept("c-missing.example", None),
        kept("d-asked.example", Some("2040-01-01T00:00:00Z")),
    ];
    all[3].forced = true;
    all.sort_by_key(kept::Kept::urgency);
    let order: Vec<String> = all.iter().map(|kept| kept.lineage.to_string()).collect();
    assert_eq!(order, ["d-asked.example", "c-missing.example", "b-soon.example", "a-late.example"]);
}
