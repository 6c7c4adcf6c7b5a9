//! A member that lost its machine is replaced, by who may do that.

use crate::support::{READY_BOUND, Trio, page, regraft};
use regraft_testbed::{Member, MemberOptions, Port, wait};

impl Trio {
    pub(crate) fn make_certificate(&self, what: &[&str]) {
        let folder = self.folder.path().join("certs");
        let folder = folder.to_str().unwrap();
        let answer = regraft(&[&["certs"], what, &["--dir", folder]].concat());
        assert_eq!(answer.code, 0, "{}", answer.err);
    }

    /// Starts a fourth member beside the three; gives it with the address of its Raft listener.
    fn start_fourth(&self) -> (Member, String) {
        self.make_certificate(&["member", "4"]);
        let ports: Vec<Port> = (0..4).map(|_| Port::reserve().unwrap()).collect();
        let [raft, admin, http, store] = &ports[..] else {
            unreachable!("four were reserved")
        };
        let config = format!(
            "member: {{id: 4}}\ncluster: trio\ndataDir: data-4\n\
             listen: {{raft: '127.0.0.1:{}', admin: '127.0.0.1:{}', http: '127.0.0.1:{}', store: '127.0.0.1:{}'}}\n\
             peers:\n{}tls: {{ca: certs/ca.pem, cert: certs/member-4.pem, key: certs/member-4-key.pem}}\n",
            raft.number(),
            admin.number(),
            http.number(),
            store.number(),
            self.peers(),
        );
        let options = MemberOptions {
            name: "member-4".to_owned(),
            config,
            environment: Vec::new(),
        };
        let member = Member::start(self.folder.path(), &options).unwrap();
        wait::until("the fourth member runs", READY_BOUND, || {
            match page(http.number(), "/healthz") {
                Ok((200, _)) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .unwrap();
        (member, format!("127.0.0.1:{}", raft.number()))
    }
}

#[test]
fn an_admin_replaces_a_lost_member_and_nobody_with_less_rights_does() {
    let mut trio = Trio::start();
    trio.make_certificate(&["client", "eve", "--role", "viewer"]);
    trio.make_certificate(&["client", "root", "--role", "admin"]);

    let looked = trio.regraft_as("client-eve", 1, &["get", "members"]);
    assert_eq!(looked.code, 0, "{}", looked.err);
    let refused = trio.regraft_as("client-eve", 1, &["suspend", "--all"]);
    assert_eq!(refused.code, 5, "{}", refused.err);
    insta::assert_snapshot!(refused.err, @r"
    error: Forbidden: user/eve is viewer and may not do that: it takes the role operator
      next: make a certificate with `regraft certs client NAME --role operator`
    ");
    let refused = trio.regraft(1, &["members", "remove", "3", "--yes"]);
    assert_eq!(refused.code, 5, "{}", refused.err);

    let lost = trio.leader(1).unwrap() % 3 + 1;
    let asked = lost % 3 + 1;
    trio.members[lost - 1].kill();
    let as_root =
        |trio: &Trio, arguments: &[&str]| trio.regraft_as("client-root", asked, arguments);
    let nobody = as_root(&trio, &["members", "add", "4", "127.0.0.1:9"]);
    assert_eq!(nobody.code, 5, "{}", nobody.err);
    assert!(
        nobody
            .err
            .contains("next: start member 4 with its own certificate"),
        "{}",
        nobody.err
    );

    let (mut fourth, address) = trio.start_fourth();
    let replaced = lost.to_string();
    let added = as_root(
        &trio,
        &["members", "add", "4", &address, "--replace", &replaced],
    );
    assert_eq!(added.code, 0, "{}", added.err);
    assert_eq!(
        added.out,
        format!(
            "member 4 at {address} gets the log, and has no vote yet\n\
             member 4 votes in the place of member {lost}, which is no member any more\n"
        )
    );
    let members = as_root(&trio, &["get", "members", "-o", "json"]).json();
    let row = |id: usize| members.as_array().unwrap().iter().find(|it| it["id"] == id);
    assert_eq!(row(4).unwrap()["address"], address.as_str());
    assert_eq!(row(lost).unwrap()["role"], "none", "{members}");
    let audit = as_root(&trio, &["audit", "-o", "json"]).json();
    let last = audit.as_array().unwrap().last().unwrap();
    assert_eq!(
        (&last["actor"], &last["reason"], &last["subject"]),
        (
            &"user/root".into(),
            &"MemberVotes".into(),
            &"member/4".into()
        )
    );

    // It counts: with it and one of the others there is a majority.
    let other = 6 - lost - asked;
    trio.members[other - 1].kill();
    let suspended = wait::until("two of the three go on", READY_BOUND, || {
        let answer = trio.regraft(asked, &["suspend", "--all"]);
        match answer.code {
            0 => Ok(()),
            code => Err(format!("exit {code}: {}", answer.err)),
        }
    });
    suspended.unwrap();
    assert!(fourth.stop(), "{}", fourth.log_tail());
}
