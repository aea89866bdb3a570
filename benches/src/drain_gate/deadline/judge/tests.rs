//! The judge's negative controls: each fault that a deadline can have is shown to it once.

use switcher_config::wire::ByKind;
use switcher_config::{Generation, Slot};

use super::*;

const DRAIN: Duration = Duration::from_secs(1);

fn proper_end(sort: Sort) -> End {
    match sort {
        Sort::Websocket | Sort::WebsocketTls => End::CloseFrame(1012),
        Sort::Events => End::Whole,
        Sort::EventsHttp2 | Sort::DownloadHttp2 => End::Reset,
        Sort::Download => End::Broken,
        Sort::Deaf => End::LetGo,
        Sort::Unanswered => End::Answered(502),
    }
}

fn faultless() -> Evidence {
    let mut cut = ByKind::<Vec<Exchange>>::default();
    for sort in Sort::ALL {
        let (kind, route) = (sort.kind(), format!("GET {}", sort.path()));
        cut.get_mut(kind).push(Exchange { kind, route, request_id: "id".to_owned(), age_seconds: 1.5 });
    }
    let receipt = DrainReceipt {
        slot: Slot::Blue,
        generation: Generation::FIRST,
        drained: true,
        seconds: 1.1,
        finished: ByKind::default(),
        cut,
        in_flight: ByKind::default(),
    };
    let parting = |sort| Parting { sort, end: proper_end(sort), after_millis: 3.0 };
    Evidence { partings: Sort::ALL.map(parting).into(), receipt, drain: DRAIN, lived: 2 * DRAIN }
}

/// The one problem of evidence that is faultless but for a change.
fn problem(change: impl FnOnce(&mut Evidence)) -> String {
    let mut evidence = faultless();
    change(&mut evidence);
    let found = problems(&evidence);
    assert_eq!(found.len(), 1, "{found:?}");
    found[0].clone()
}

#[test]
fn a_faultless_deadline_is_no_problem() {
    assert_eq!(problems(&faultless()), Vec::<String>::new());
}

#[test]
fn a_cut_before_the_deadline_is_seen_for_every_sort() {
    for (index, sort) in Sort::ALL.into_iter().enumerate() {
        let found = problem(|e| e.partings[index].after_millis = -0.5);
        assert_eq!(found, format!("{}: cut 0.5 ms before the deadline", sort.title()));
    }
}

#[test]
fn a_cut_that_the_receipt_does_not_name_is_seen_for_every_sort() {
    for sort in Sort::ALL {
        let route = format!("GET {}", sort.path());
        let found = problem(|e| {
            let named = e.receipt.cut.get_mut(sort.kind());
            let index = named.iter().position(|e| e.route == route).expect("named");
            named.remove(index);
        });
        assert!(found.ends_with("cut, and not named in the receipt"), "{found}");
    }
}

#[test]
fn an_end_that_the_protocol_forbids_is_seen() {
    let forbidden = [
        (Sort::Websocket, End::CloseFrame(1000)),
        (Sort::WebsocketTls, End::Other("no close frame".to_owned())),
        (Sort::Events, End::Broken),
        (Sort::EventsHttp2, End::Other("the connection is gone".to_owned())),
        (Sort::Download, End::Whole),
        (Sort::DownloadHttp2, End::Whole),
        (Sort::Deaf, End::Other("still held".to_owned())),
        (Sort::Unanswered, End::Answered(200)),
        (Sort::Unanswered, End::Broken),
    ];
    for (sort, end) in forbidden {
        let found = problem(|e| {
            let parting = e.partings.iter_mut().find(|parting| parting.sort == sort).expect("a parting");
            parting.end = end;
        });
        assert!(found.starts_with(sort.title()) && found.ends_with("forbids"), "{found}");
    }
}

#[test]
fn a_client_whose_end_nobody_saw_is_missed() {
    let found = problem(|e| e.partings.truncate(7));
    assert_eq!(found, "request without an answer: 0 ends were seen instead of one");
}

#[test]
fn a_receipt_that_is_wrong_is_seen() {
    let names_too_much = problem(|e| {
        let twice = e.receipt.cut.websockets[0].clone();
        e.receipt.cut.websockets.push(twice);
    });
    assert!(names_too_much.contains("where nothing was cut"), "{names_too_much}");
    for age in [0.9, 2.1] {
        let found = problem(|e| e.receipt.cut.streams[0].age_seconds = age);
        assert!(found.ends_with("which cannot be"), "{found}");
    }
    assert!(problem(|e| e.receipt.drained = false).starts_with("the drain was not over"));
    assert!(problem(|e| e.receipt.in_flight.requests = 1).starts_with("the drain was not over"));
    assert!(problem(|e| e.receipt.finished.streams = 1).contains("counts as finished"));
}
