//! Records of clients: written, compared, deleted, listed.

use crate::client::{Client, delete, put, refusal};
use crate::harness::Machine;
use bytes::Bytes;
use regraft_state::operation::{
    KEY_BYTES_MAX, Outcome, Put, RefusalReason, Request, VALUE_BYTES_MAX, Written,
};
use regraft_state::stored::Record;
use regraft_state::view::sessions::{PAGE_BYTES_MAX, record, records};

fn written(outcome: &Outcome) -> Written {
    match outcome {
        Outcome::Written(written) => *written,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_record_tells_who_wrote_it_when_and_how_often() {
    let mut machine = Machine::default();
    let mut client = Client::open(&mut machine, "user/ada");
    let first = written(&client.ask(&mut machine, put("a", "1", None)));
    assert_eq!((first.revision, first.previous), (machine.index, 0));
    let second = written(&client.ask(&mut machine, put("a", "2", None)));
    assert_eq!(second.previous, first.revision);
    let expected = Record {
        revision: second.revision,
        created: first.revision,
        version: 2,
        value: Bytes::from_static(b"2"),
    };
    assert_eq!(record(&machine.store, b"a").unwrap(), Some(expected));

    let deleted = written(&client.ask(&mut machine, delete("a", None)));
    assert_eq!(deleted.previous, second.revision);
    assert_eq!(record(&machine.store, b"a").unwrap(), None);
    let nothing = written(&client.ask(&mut machine, delete("a", None)));
    assert_eq!(nothing.previous, 0);
    let again = written(&client.ask(&mut machine, put("a", "3", None)));
    let known = record(&machine.store, b"a").unwrap().unwrap();
    assert_eq!((known.created, known.version), (again.revision, 1));
}

#[test]
fn a_write_that_expects_another_revision_is_refused_with_the_one_found() {
    let mut machine = Machine::default();
    let mut client = Client::open(&mut machine, "user/ada");
    let first = written(&client.ask(&mut machine, put("a", "1", Some(0))));
    let requests = [
        (put("a", "2", Some(0)), first.revision),
        (put("a", "2", Some(first.revision + 1)), first.revision),
        (delete("a", Some(first.revision - 1)), first.revision),
        (put("b", "2", Some(first.revision)), 0),
        (delete("b", Some(7)), 0),
    ];
    for (request, found) in requests {
        let before = machine.store.clone();
        let outcome = client.ask(&mut machine, request);
        match &outcome {
            Outcome::Refused(refused) => assert_eq!(refused.found, found),
            other => panic!("{other:?}"),
        }
        assert_eq!(refusal(outcome).0, RefusalReason::RevisionChanged);
        for key in [b"a", b"b"] {
            let now = record(&machine.store, key).unwrap();
            assert_eq!(now, record(&before, key).unwrap());
        }
    }
    let second = written(&client.ask(&mut machine, put("a", "2", Some(first.revision))));
    written(&client.ask(&mut machine, delete("a", Some(second.revision))));
}

#[test]
fn a_record_is_as_large_as_it_may_be_and_no_larger() {
    let mut machine = Machine::default();
    let mut client = Client::open(&mut machine, "user/ada");
    let mut check = |key: usize, value: usize, fits: bool| {
        let request = Request::Put(Put {
            key: vec![0xff; key].into(),
            value: vec![0; value].into(),
            expected: None,
        });
        match client.ask(&mut machine, request) {
            Outcome::Written(_) => assert!(fits),
            other => {
                assert_eq!(refusal(other).0, RefusalReason::OutOfBounds);
                assert!(!fits);
            }
        }
    };
    check(1, 0, true);
    check(KEY_BYTES_MAX, VALUE_BYTES_MAX, true);
    check(0, 1, false);
    check(KEY_BYTES_MAX + 1, 1, false);
    check(1, VALUE_BYTES_MAX + 1, false);
}

#[test]
fn records_are_listed_by_beginning_in_pages() {
    let mut machine = Machine::default();
    let mut client = Client::open(&mut machine, "user/ada");
    for key in ["a", "b", "b/1", "b/2", "b/3", "bb", "c"] {
        client.ask(&mut machine, put(key, key, None));
    }
    let list = |beginning: &str, limit: usize| {
        let (mut keys, mut after, mut pages) = (vec![], None, 0);
        loop {
            let page = records(
                &machine.store,
                beginning.as_bytes(),
                after.as_deref(),
                limit,
            );
            let page = page.unwrap();
            pages += 1;
            for (key, record) in page.records {
                assert_eq!(key, record.value);
                keys.push(String::from_utf8(key).unwrap());
            }
            after = page.next;
            if after.is_none() {
                return (keys.join(" "), pages);
            }
        }
    };
    assert_eq!(list("", 100), ("a b b/1 b/2 b/3 bb c".to_owned(), 1));
    assert_eq!(list("b", 2), ("b b/1 b/2 b/3 bb".to_owned(), 3));
    assert_eq!(list("b/", 3), ("b/1 b/2 b/3".to_owned(), 1));
    assert_eq!(list("b/", 1), ("b/1 b/2 b/3".to_owned(), 3));
    assert_eq!(list("z", 1), (String::new(), 1));
    // A page after a key that is gone, before, or beyond all that begin so.
    for (after, first) in [("b/15", Some("b/2")), ("a", Some("b/1")), ("c", None)] {
        let page = records(&machine.store, b"b/", Some(after.as_bytes()), 1).unwrap();
        let key = page.records.first().map(|(key, _)| key.as_slice());
        assert_eq!(key, first.map(str::as_bytes), "after {after}");
    }
}

#[test]
fn a_page_of_large_records_ends_by_their_size() {
    let mut machine = Machine::default();
    let mut client = Client::open(&mut machine, "user/ada");
    let value = "v".repeat(VALUE_BYTES_MAX);
    for number in 10..30 {
        client.ask(&mut machine, put(&number.to_string(), &value, None));
    }
    let page = records(&machine.store, b"", None, 100).unwrap();
    assert_eq!(page.records.len(), PAGE_BYTES_MAX / VALUE_BYTES_MAX);
    let rest = records(&machine.store, b"", page.next.as_deref(), 100).unwrap();
    let first_of_rest = 10 + page.records.len();
    assert_eq!(rest.records[0].0, first_of_rest.to_string().as_bytes());
}
