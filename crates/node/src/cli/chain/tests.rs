use super::*;
use regraft_model::time::Timestamp;
use regraft_state::audit::note_restore;
use regraft_state::store::Memory;
use std::cell::RefCell;

/// Entries of one page in these tests.
const PAGE: usize = 3;

fn grow(store: &mut Memory, entries: u64) {
    for index in 0..entries {
        let note = note_restore(store, index, Timestamp(7), "a test".to_owned());
        store.write(note.unwrap());
    }
}

/// Reads a chain by pages; `between` changes the store after each page, by how many there were.
fn read_whole(store: Memory, between: impl Fn(&mut Memory, u32)) -> Result<Chain, Failure> {
    let (store, pages) = (RefCell::new(store), RefCell::new(0));
    futures::executor::block_on(whole(async |from| {
        let page = Chain::read(&*store.borrow(), from, PAGE).unwrap();
        *pages.borrow_mut() += 1;
        between(&mut store.borrow_mut(), *pages.borrow());
        Ok(page)
    }))
}

#[test]
fn a_chain_of_many_pages_is_read_as_it_was_at_the_first() {
    for entries in [0, 1, 2, 3, 4, 10] {
        let mut store = Memory::default();
        grow(&mut store, entries);
        let chain = read_whole(store, |store, _| grow(store, 1)).unwrap();
        assert_eq!(chain.entries.len() as u64, entries);
        assert_eq!(chain.head.newest, entries);
        assert_eq!(audit::verify(&chain.head, &chain.entries), Ok(()));
    }
}

#[test]
fn a_chain_whose_beginning_is_dropped_meanwhile_is_read_anew() {
    let mut store = Memory::default();
    grow(&mut store, 10);
    let chain = read_whole(store, |store, pages| {
        if pages == 1 {
            grow(store, audit::MAX_AUDIT_ENTRIES);
        }
    });
    let chain = chain.unwrap();
    assert_eq!(chain.head.oldest, 11);
    assert_eq!(audit::verify(&chain.head, &chain.entries), Ok(()));
}

#[test]
fn what_was_taken_out_or_renumbered_is_told_and_reading_ends() {
    let mut store = Memory::default();
    grow(&mut store, 10);
    let key = |number: u64| format!("audit/{number:016x}").into_bytes();
    for (taken_out, told) in [
        (1, BrokenChain::Missing(1)),
        (5, BrokenChain::Missing(5)),
        (10, BrokenChain::Missing(10)),
    ] {
        let mut store = store.clone();
        store.0.remove(&key(taken_out));
        let chain = read_whole(store, |_, _| {}).unwrap();
        assert_eq!(audit::verify(&chain.head, &chain.entries), Err(told));
    }
    let mut renumbered = store.clone();
    let entry = String::from_utf8(renumbered.0[&key(6)].clone()).unwrap();
    let entry = entry.replace("\"number\":6", "\"number\":2");
    renumbered.0.insert(key(6), entry.into_bytes());
    let chain = read_whole(renumbered, |_, _| {}).unwrap();
    assert_eq!(
        audit::verify(&chain.head, &chain.entries),
        Err(BrokenChain::Missing(6))
    );
}

#[test]
fn a_broken_chain_is_a_failure_that_names_the_entry() {
    let mut store = Memory::default();
    grow(&mut store, 3);
    let mut chain = Chain::read(&store, 0, 100).unwrap();
    assert!(judge(&chain, Format::Table).is_ok());
    chain.entries[1].message = "nothing happened".to_owned();
    for format in [Format::Table, Format::Json] {
        let failure = judge(&chain, format).unwrap_err();
        assert_eq!(failure.exit, Exit::Failed);
        insta::allow_duplicates!(insta::assert_snapshot!(failure.to_string(), @r"
        error: AuditBroken: audit entry 2 was changed
          next: somebody changed the state past regraft: keep a copy of all data folders and backups, and look at an older backup with `regraft audit verify --backup FILE`
        "));
    }
}

#[test]
fn a_verdict_is_told_to_people() {
    let mut store = Memory::default();
    let told_of = |store: &Memory| {
        let chain = Chain::read(store, 0, 100).unwrap();
        told(&AuditVerdictDocument {
            whole: true,
            entries: chain.entries.len(),
            oldest: chain.head.oldest,
            newest: chain.head.newest,
            hash: chain.head.hash,
            message: None,
        })
    };
    let empty = told_of(&store);
    grow(&mut store, 2);
    insta::assert_snapshot!(empty + &told_of(&store), @r"
    the chain has no entries yet
    2 entries from 1 to 2 are whole; the chain's head is 334222bb5d6981258dafab895cfeb8cbc2790421a34a5fa98cb71237846ff43d
    ");
}
