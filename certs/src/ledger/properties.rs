//! What holds for every history: windows are exact, pruning and the disk change no answer.

use proptest::prelude::*;
use switcher_config::settings::Directory;

use super::tests::{DAY, HOUR, at, names};
use super::*;

const HOSTS: [&str; 3] = ["a.example", "b.example", "c.example"];

fn authorities() -> [Directory; 3] {
    [Directory::LetsEncrypt, Directory::ZeroSsl, Directory::Url("https://ca.internal/directory".to_owned())]
}

/// An order somebody wishes for and what would become of it.
#[derive(Debug, Clone)]
struct Wish {
    /// Seconds since the last one.
    after: i64,
    directory: Directory,
    names: Vec<String>,
    renewal: bool,
    fails: bool,
}

prop_compose! {
    fn any_wish(longest: i64)(
        after in prop_oneof![0..60_i64, 0..longest],
        directory in proptest::sample::select(authorities().to_vec()),
        hosts in proptest::sample::subsequence(HOSTS.to_vec(), 1..=3),
        renewal in any::<bool>(),
        fails in proptest::bool::weighted(0.3),
    ) -> Wish {
        Wish { after, directory, names: names(&hosts), renewal, fails }
    }
}

fn any_wishes() -> impl Strategy<Value = Vec<Wish>> {
    let longest = prop_oneof![Just(HOUR / 4), Just(3 * HOUR), Just(2 * DAY)];
    longest.prop_flat_map(|longest| proptest::collection::vec(any_wish(longest), 1..150))
}

/// Does what is wished for, as the manager would, where `ask` lets it. The ledger and what happened.
fn live(
    wishes: &[Wish],
    ask: impl Fn(&Ledger, &Wish, Timestamp) -> bool,
    mut tidy: impl FnMut(&mut Ledger, Timestamp),
) -> (Ledger, Vec<Entry>) {
    let (mut ledger, mut happened, mut seconds) = (Ledger::default(), Vec::new(), 0);
    for wish in wishes {
        seconds += wish.after;
        tidy(&mut ledger, at(seconds));
        if !ask(&ledger, wish, at(seconds)) {
            continue;
        }
        let replaces = wish.renewal;
        let end = if wish.fails { What::Failed } else { What::Issued { replaces } };
        for what in [What::Ordered { replaces }, end] {
            let ca = wish.directory.url().to_owned();
            let entry = Entry { ca, at: at(seconds), names: wish.names.clone(), what };
            ledger.note(entry.clone());
            happened.push(entry);
        }
    }
    (ledger, happened)
}

fn room(ledger: &Ledger, wish: &Wish, now: Timestamp) -> Result<(), NoRoom> {
    ledger.room(wish.directory.url(), &Limits::of(&wish.directory), &wish.names, wish.renewal, now)
}

fn asked(ledger: &Ledger, wish: &Wish, now: Timestamp) -> bool {
    room(ledger, wish, now).is_ok()
}

/// The most of them within any window of that many seconds, counted the slow way.
fn most_within(seconds: i64, entries: &[&Entry]) -> usize {
    let count = |from: &&Entry| {
        let within = |entry: &&&Entry| (0..seconds).contains(&(entry.at.as_second() - from.at.as_second()));
        entries.iter().filter(within).count()
    };
    entries.iter().map(count).max().unwrap_or(0)
}

/// The limits of Let's Encrypt that a history breaks, written down a second time.
fn broken(happened: &[Entry]) -> Vec<String> {
    let ca = Directory::LetsEncrypt.url();
    let most = |seconds, counts: &dyn Fn(&Entry) -> bool| {
        let entries: Vec<&Entry> = happened.iter().filter(|entry| entry.ca == ca && counts(entry)).collect();
        most_within(seconds, &entries)
    };
    let mut broken = Vec::new();
    if most(3 * HOUR, &|entry| entry.what == What::Ordered { replaces: false }) > 300 {
        broken.push("orders".to_owned());
    }
    for host in HOSTS {
        if most(HOUR, &|entry| entry.what == What::Failed && entry.names.contains(&host.to_owned())) > 5 {
            broken.push(format!("failures of {host}"));
        }
    }
    let sets: Vec<&Vec<String>> = happened.iter().map(|entry| &entry.names).collect();
    for set in sets {
        let of_set = |what: What| move |entry: &Entry| entry.names == *set && entry.what == what;
        if most(7 * DAY, &of_set(What::Issued { replaces: false })) > 5 {
            broken.push(format!("certificates for {set:?}"));
        }
        if most(DAY, &of_set(What::Issued { replaces: true })) > 10 {
            broken.push(format!("renewals for {set:?}"));
        }
    }
    broken
}

/// Three times as many orders of single names as are allowed, in three hours.
fn a_rush() -> Vec<Wish> {
    let wish = |number: usize| Wish {
        after: 12,
        directory: Directory::LetsEncrypt,
        names: vec![format!("{number}.example")],
        renewal: false,
        fails: false,
    };
    (0..900).map(wish).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_window_holds_more_than_is_allowed_when_room_is_asked_first(wishes in any_wishes()) {
        let (_, happened) = live(&wishes, asked, |ledger, now| ledger.prune(now));
        prop_assert_eq!(broken(&happened), Vec::<String>::new());
    }

    #[test]
    fn pruning_changes_no_answer_now_or_later(
        wishes in any_wishes(),
        asks in proptest::collection::vec(any_wish(2 * DAY), 1..10),
    ) {
        // Nobody asks for room here, so that there is much to prune.
        let (full, _) = live(&wishes, |_, _, _| true, |_, _| {});
        let mut now = full.entries.back().map_or(at(0), |entry| entry.at);
        let mut pruned = full.clone();
        pruned.prune(now);
        for ask in asks {
            now = now.checked_add(SignedDuration::from_secs(ask.after)).expect("in range");
            prop_assert_eq!(room(&full, &ask, now), room(&pruned, &ask, now));
            let limits = Limits::of(&ask.directory);
            let left = |ledger: &Ledger| ledger.left(ask.directory.url(), &limits, &ask.names, now);
            prop_assert_eq!(left(&full), left(&pruned));
        }
    }

    #[test]
    fn when_there_is_no_room_there_is_at_the_moment_that_is_said_and_not_before(wishes in any_wishes()) {
        let (ledger, _) = live(&wishes, |_, _, _| true, |_, _| {});
        let now = ledger.entries.back().map_or(at(0), |entry| entry.at);
        for wish in wishes {
            if let Err(full) = room(&ledger, &wish, now) {
                prop_assert!(full.until > now);
                prop_assert_eq!(room(&ledger, &wish, full.until), Ok(()));
                let just_before = full.until.checked_sub(SignedDuration::from_nanos(1)).expect("in range");
                prop_assert!(room(&ledger, &wish, just_before).is_err());
            }
        }
    }

    #[test]
    fn the_disk_changes_nothing(wishes in any_wishes()) {
        let (ledger, _) = live(&wishes, |_, _, _| true, |_, _| {});
        let text = serde_json::to_string(&ledger).expect("a ledger is JSON");
        prop_assert_eq!(serde_json::from_str::<Ledger>(&text).expect("and back"), ledger);
    }

    #[test]
    fn no_moment_is_too_far_away(second in Timestamp::MIN.as_second()..=Timestamp::MAX.as_second()) {
        for at in [Timestamp::MIN, Timestamp::MAX, Timestamp::from_second(second).expect("in range")] {
            let mut ledger = Ledger::default();
            for _ in 0..6 {
                let ca = Directory::LetsEncrypt.url().to_owned();
                ledger.note(Entry { ca, at, names: names(&["a.example"]), what: What::Failed });
            }
            let wish = Wish {
                after: 0,
                directory: Directory::LetsEncrypt,
                names: names(&["a.example"]),
                renewal: false,
                fails: false,
            };
            for now in [Timestamp::MIN, at, Timestamp::MAX] {
                prop_assert_eq!(room(&ledger, &wish, now).is_err(), now == at);
                ledger.clone().prune(now);
            }
        }
    }
}

#[test]
fn a_rush_of_orders_is_spread_over_the_window() {
    let (_, happened) = live(&a_rush(), asked, |ledger, now| ledger.prune(now));
    assert_eq!(broken(&happened), Vec::<String>::new());
    assert_eq!(happened.len(), 600, "300 orders with their certificates");
}

#[test]
fn without_asking_for_room_the_limits_are_broken_and_it_shows() {
    let (_, happened) = live(&a_rush(), |_, _, _| true, |_, _| {});
    assert_eq!(broken(&happened), ["orders"]);
    let again = Wish { after: 60, fails: true, names: names(&["a.example"]), ..a_rush()[0].clone() };
    let (_, happened) = live(&vec![again; 6], |_, _, _| true, |_, _| {});
    assert_eq!(broken(&happened), ["failures of a.example"]);
}
