//! The published limits as sentences, what does not count, and the ledger on disk.

use switcher_config::settings::Directory;

use super::*;

pub(super) const HOUR: i64 = 3_600;
pub(super) const DAY: i64 = 86_400;

pub(super) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).expect("in range")
}

pub(super) fn names(list: &[&str]) -> Vec<String> {
    list.iter().map(ToString::to_string).collect()
}

const ORDERED: What = What::Ordered { replaces: false };
const ISSUED: What = What::Issued { replaces: false };
const RENEWED: What = What::Issued { replaces: true };

/// One authority's part of a ledger.
struct Desk {
    directory: Directory,
    ledger: Ledger,
}

impl Desk {
    fn of(directory: Directory) -> Self {
        Self { directory, ledger: Ledger::default() }
    }

    fn note(&mut self, seconds: i64, list: &[&str], what: What) {
        let ca = self.directory.url().to_owned();
        self.ledger.note(Entry { ca, at: at(seconds), names: names(list), what });
    }

    fn ask(&self, seconds: i64, list: &[&str], renewal: bool) -> Result<(), NoRoom> {
        let limits = Limits::of(&self.directory);
        self.ledger.room(self.directory.url(), &limits, &names(list), renewal, at(seconds))
    }

    fn left(&self, seconds: i64, list: &[&str]) -> Vec<Left> {
        self.ledger.left(self.directory.url(), &Limits::of(&self.directory), &names(list), at(seconds))
    }
}

#[test]
fn a_sixth_certificate_for_the_same_names_waits_until_the_first_is_a_week_old() {
    let mut desk = Desk::of(Directory::LetsEncrypt);
    for day in 0..5 {
        assert_eq!(desk.ask(day * DAY, &["a.example", "b.example"], false), Ok(()));
        desk.note(day * DAY, &["a.example", "b.example"], ISSUED);
    }
    let full =
        desk.ask(5 * DAY, &["B.example", "a.example", "b.example"], false).expect_err("five were issued");
    assert_eq!(full.until, at(7 * DAY));
    assert_eq!(
        full.to_string(),
        "Let's Encrypt allows 5 certificates for exactly these names within 7d, and 5 are used up; \
         there is room again at 2027-01-22T08:00:00Z"
    );
    assert_eq!(desk.ask(5 * DAY, &["a.example"], false), Ok(()), "another set of names");
    assert_eq!(desk.ask(5 * DAY, &["a.example", "b.example"], true), Ok(()), "a renewal is exempt");
    assert!(desk.ask(7 * DAY - 1, &["a.example", "b.example"], false).is_err());
    assert_eq!(desk.ask(7 * DAY, &["a.example", "b.example"], false), Ok(()));
}

#[test]
fn the_three_hundred_and_first_order_waits_until_the_first_is_three_hours_old() {
    let mut desk = Desk::of(Directory::LetsEncrypt);
    for order in 0..300 {
        desk.note(order, &[&format!("{order}.example")], ORDERED);
    }
    let full = desk.ask(300, &["new.example"], false).expect_err("300 were sent");
    assert_eq!(full.limit, "Let's Encrypt allows 300 new orders within 3h, and 300 are used up");
    assert_eq!(full.until, at(3 * HOUR));
    assert_eq!(desk.ask(300, &["new.example"], true), Ok(()), "a renewal is exempt");
    assert_eq!(desk.ask(3 * HOUR, &["new.example"], false), Ok(()));
}

#[test]
fn orders_that_replace_something_leave_the_limit_on_new_orders_alone() {
    let mut desk = Desk::of(Directory::LetsEncrypt);
    for order in 0..1_000 {
        desk.note(order, &[&format!("{order}.example")], What::Ordered { replaces: true });
    }
    assert_eq!(desk.ask(1_000, &["new.example"], false), Ok(()));
}

#[test]
fn a_name_whose_validation_failed_five_times_holds_back_every_order_with_it() {
    let mut desk = Desk::of(Directory::LetsEncrypt);
    for minute in 0..5 {
        desk.note(minute * 60, &["Bad.example"], What::Failed);
    }
    for renewal in [false, true] {
        let full =
            desk.ask(300, &["good.example", "bad.example"], renewal).expect_err("it failed five times");
        assert_eq!(
            full.limit,
            "Let's Encrypt allows 5 failed validations of bad.example within 1h, and 5 failed"
        );
        assert_eq!(full.until, at(HOUR));
    }
    assert_eq!(desk.ask(300, &["good.example"], false), Ok(()));
    assert_eq!(desk.ask(HOUR, &["bad.example"], false), Ok(()));
}

#[test]
fn of_several_limits_the_one_that_frees_up_last_is_named() {
    let mut desk = Desk::of(Directory::LetsEncrypt);
    for minute in 0..5 {
        desk.note(minute * 60, &["a.example"], What::Failed);
        desk.note(minute * 60, &["a.example"], ISSUED);
    }
    let full = desk.ask(300, &["a.example"], false).expect_err("two limits are reached");
    assert_eq!(full.until, at(7 * DAY));
    assert!(full.limit.contains("exactly these names"), "{full}");
}

#[test]
fn renewals_that_come_one_after_the_other_are_stopped_by_a_limit_of_our_own() {
    let mut desk = Desk::of(Directory::LetsEncrypt);
    for minute in 0..10 {
        assert_eq!(desk.ask(minute * 60, &["a.example"], true), Ok(()));
        desk.note(minute * 60, &["a.example"], RENEWED);
    }
    let full = desk.ask(600, &["a.example"], true).expect_err("ten within minutes");
    assert_eq!(
        full.limit,
        "10 renewals of exactly these names were issued by Let's Encrypt within 1d, and more than 10 only happen \
         when something is wrong: see why each new certificate is due at once"
    );
    assert_eq!(desk.ask(DAY, &["a.example"], true), Ok(()));
}

#[test]
fn each_authority_has_its_own_limits_and_its_own_count() {
    let mut ledger = Ledger::default();
    let url = |url: &str| Directory::Url(url.to_owned());
    let cases = [
        (Directory::LetsEncrypt, Some(5)),
        (Directory::LetsEncryptStaging, Some(200)),
        (Directory::ZeroSsl, Some(5)),
        (Directory::Google, Some(5)),
        (url("https://ca.internal/directory"), None),
    ];
    for (directory, allowed) in cases {
        let limits = Limits::of(&directory);
        let room = |ledger: &Ledger| {
            ledger.room(directory.url(), &limits, &names(&["a.example"]), false, at(0)).is_ok()
        };
        for _ in 0..allowed.unwrap_or(1_000) {
            assert!(room(&ledger), "{directory}");
            let ca = directory.url().to_owned();
            ledger.note(Entry { ca, at: at(0), names: names(&["a.example"]), what: What::Failed });
        }
        assert_eq!(room(&ledger), allowed.is_none(), "{directory}");
    }
    let by_url = url(Directory::LetsEncrypt.url());
    assert_eq!(Limits::of(&by_url), Limits::of(&Directory::LetsEncrypt), "the URL is what counts");
}

#[test]
fn what_is_left_is_told_of_every_limit_and_every_name() {
    let mut desk = Desk::of(Directory::LetsEncrypt);
    desk.note(0, &["a.example", "b.example"], ORDERED);
    desk.note(0, &["a.example", "b.example"], ISSUED);
    for _ in 0..5 {
        desk.note(10, &["b.example"], What::Failed);
    }
    let left: Vec<String> = desk
        .left(20, &["a.example", "b.example"])
        .into_iter()
        .map(|left| {
            let Left { what, name, used, allowed, window, until } = left;
            let name = name.unwrap_or_default();
            let until = until.map(|until| until.to_string()).unwrap_or_default();
            format!("{what} {name}: {used} of {allowed} within {window} {until}")
        })
        .collect();
    assert_eq!(
        left,
        [
            "new orders : 1 of 300 within 3h ",
            "certificates for exactly these names : 1 of 5 within 7d ",
            "renewals of exactly these names : 0 of 10 within 1d ",
            "failed validations of a name a.example: 0 of 5 within 1h ",
            "failed validations of a name b.example: 5 of 5 within 1h 2027-01-15T09:00:10Z",
        ]
    );
}

#[test]
fn a_clock_that_was_years_ahead_blocks_nothing_and_one_that_was_an_hour_ahead_is_no_way_out() {
    let mut desk = Desk::of(Directory::LetsEncrypt);
    for _ in 0..5 {
        desk.note(5 * 365 * DAY, &["a.example"], ISSUED);
    }
    assert_eq!(desk.ask(0, &["a.example"], false), Ok(()));
    for _ in 0..5 {
        desk.note(HOUR, &["b.example"], ISSUED);
    }
    assert!(desk.ask(0, &["b.example"], false).is_err());
}

#[test]
fn pruning_drops_what_is_over_and_what_nobody_limits() {
    let mut desk = Desk::of(Directory::LetsEncrypt);
    desk.note(0, &["a.example"], ORDERED);
    desk.note(0, &["a.example"], What::Ordered { replaces: true });
    desk.note(0, &["a.example"], What::Failed);
    desk.note(0, &["a.example"], ISSUED);
    let private = Entry { ca: "https://ca".to_owned(), at: at(0), names: names(&["a"]), what: ISSUED };
    desk.ledger.note(private);
    let mut kept = |seconds| {
        desk.ledger.prune(at(seconds));
        desk.ledger.len()
    };
    assert_eq!((kept(0), kept(HOUR), kept(3 * HOUR), kept(7 * DAY - 1)), (3, 2, 1, 1));
    assert_eq!(kept(7 * DAY), 0);
    assert!(desk.ledger.is_empty());
}

#[test]
fn a_hundred_thousand_entries_never_pile_up() {
    let mut desk = Desk::of(Directory::LetsEncryptStaging);
    for second in 0..100_000 {
        desk.note(second, &["a.example"], ISSUED);
    }
    assert_eq!(desk.ledger.len(), MOST);
    let text = serde_json::to_string(&desk.ledger).expect("a ledger is JSON");
    assert!(text.len() < 2_000_000, "{} bytes", text.len());
    let oldest = desk.ledger.entries.front().expect("it is full");
    assert_eq!(oldest.at, at(80_000), "the newest stay");
}

#[test]
fn a_ledger_of_a_newer_version_is_read_as_far_as_it_is_understood() {
    let text = r#"{"schema": 2, "authorities": ["https://ca"], "names": [["B.example", "a.example"]], "entries": [
        {"at": "2027-01-15T08:00:00.5Z", "what": "issued", "ca": 0, "names": 0, "serial": "12"},
        {"at": "2027-01-15T08:00:00Z", "what": "pondered", "ca": 0, "names": 0},
        {"at": "2027-01-15T08:00:00Z", "what": "issued", "ca": 7, "names": 0},
        {"at": "2027-01-15T08:00:00Z", "what": "issued", "ca": 0, "names": 7}]}"#;
    let ledger: Ledger = serde_json::from_str(text).expect("it is read");
    let at = "2027-01-15T08:00:00.5Z".parse().expect("a moment");
    let only =
        Entry { ca: "https://ca".to_owned(), at, names: names(&["a.example", "b.example"]), what: ISSUED };
    assert_eq!(ledger.entries, [only]);
    assert_eq!(serde_json::from_str::<Ledger>("{}").expect("an empty one"), Ledger::default());
    assert!(serde_json::from_str::<Ledger>(r#"{"entries": 3}"#).is_err(), "nonsense is no ledger");
}

#[test]
fn a_ledger_on_disk_is_short_and_readable() {
    let mut desk = Desk::of(Directory::LetsEncrypt);
    desk.note(0, &["a.example"], ORDERED);
    desk.note(1, &["a.example"], RENEWED);
    assert_eq!(
        serde_json::to_string(&desk.ledger).expect("a ledger is JSON"),
        concat!(
            r#"{"authorities":["https://acme-v02.api.letsencrypt.org/directory"],"names":[["a.example"]],"entries":["#,
            r#"{"at":"2027-01-15T08:00:00Z","what":"ordered","ca":0,"names":0},"#,
            r#"{"at":"2027-01-15T08:00:01Z","what":"issued_replacement","ca":0,"names":0}]}"#
        )
    );
}
