//! Three members that share one state in memory, answer as real ones do, and fail as they are told to.

use futures::stream::{self, BoxStream, StreamExt as _};
use regraft_client::{Client, ConnectError, Settings};
use regraft_wire::store::v1::change_response::Outcome;
use regraft_wire::store::v1::store_server::{Store, StoreServer};
use regraft_wire::store::v1::*;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Endpoint;
use tonic::{Code, Request, Response, Status};

/// Generous: the machine may be busy with other things.
const LIMIT: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(5);

/// How a member treats a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It answers so, and does nothing.
    Answers(Code),
    /// It does nothing and says nothing.
    Silent,
    /// It does it and says nothing.
    DoesSilently,
    /// It does nothing, and its connections break.
    Breaks,
    /// It does it, and its connections break before it has answered.
    DoesAndBreaks,
    /// It does it, and answers so.
    DoesAndAnswers(Code),
    /// It does it as it should: for a place in a list.
    Works,
}

/// What somebody asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) member: u64,
    pub(crate) call: &'static str,
    pub(crate) id: Option<RequestId>,
    /// `grpc-timeout`, as it came.
    pub(crate) timeout: Option<String>,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) leader: u64,
    /// Members that do not lead send clients away instead of asking for them.
    pub(crate) strict: bool,
    revision: u64,
    pub(crate) sessions: BTreeMap<u64, BTreeMap<u32, (u64, Outcome)>>,
    pub(crate) records: BTreeMap<Vec<u8>, Record>,
    history: Vec<(u64, Change)>,
    /// Scopes with who holds them and the fence, and who waits.
    pub(crate) held: BTreeMap<String, (u64, u64)>,
    pub(crate) queue: VecDeque<(String, u64)>,
    pub(crate) asked: Vec<Asked>,
    faults: BTreeMap<(u64, &'static str), VecDeque<Fault>>,
    always: BTreeMap<u64, Fault>,
    /// Members that know no change up to this revision.
    pub(crate) compacted: BTreeMap<u64, u64>,
    cuts: BTreeMap<u64, CancellationToken>,
    mute: BTreeMap<u64, watch::Sender<bool>>,
}

pub(crate) struct Trio {
    state: Arc<Mutex<State>>,
    newest: watch::Sender<u64>,
    pub(crate) addresses: BTreeMap<u64, String>,
    _tasks: JoinSet<()>,
}

struct Member {
    id: u64,
    state: Arc<Mutex<State>>,
    newest: watch::Sender<u64>,
}

impl Trio {
    /// Three members; the first one leads.
    pub(crate) async fn start() -> Self {
        let mut trio = Self {
            state: Arc::default(),
            newest: watch::Sender::new(0),
            addresses: BTreeMap::new(),
            _tasks: JoinSet::new(),
        };
        trio.state().leader = 1;
        for id in 1..=3 {
            let inside = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let outside = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = outside.local_addr().unwrap().to_string();
            trio.addresses.insert(id, address);
            let cuts = relay(
                Arc::clone(&trio.state),
                id,
                outside,
                inside.local_addr().unwrap(),
            );
            trio._tasks.spawn(cuts);
            let member = Member {
                id,
                state: Arc::clone(&trio.state),
                newest: trio.newest.clone(),
            };
            trio._tasks.spawn(async move {
                let mut server = tonic::transport::Server::builder();
                let router = server.add_service(StoreServer::new(member));
                let incoming = TcpListenerStream::new(inside);
                router.serve_with_incoming(incoming).await.unwrap();
            });
        }
        trio
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// What a member does with the next calls of a kind.
    pub(crate) fn script(&self, member: u64, call: &'static str, faults: &[Fault]) {
        let mut state = self.state();
        state
            .faults
            .entry((member, call))
            .or_default()
            .extend(faults);
    }

    /// What all members do with everything that no script is for.
    pub(crate) fn all(&self, fault: Fault) {
        for member in 1..=3 {
            self.always(member, fault);
        }
    }

    pub(crate) fn always(&self, member: u64, fault: Fault) {
        self.state().always.insert(member, fault);
    }

    pub(crate) fn cut(&self, member: u64) {
        self.state().cut(member);
    }

    /// Whether anything that a member says gets through: not even that time ran out, as of a process that is stopped.
    pub(crate) fn mute(&self, member: u64, mute: bool) {
        let mut state = self.state();
        state.mute.entry(member).or_default().send_replace(mute);
    }

    /// What was asked since the last look, of one kind.
    pub(crate) fn asked(&self, call: &'static str) -> Vec<Asked> {
        let mut state = self.state();
        let all = std::mem::take(&mut state.asked);
        all.into_iter().filter(|asked| asked.call == call).collect()
    }

    pub(crate) fn value(&self, key: &str) -> Option<(Vec<u8>, u64)> {
        let state = self.state();
        let record = state.records.get(key.as_bytes())?;
        Some((record.value.to_vec(), record.version))
    }

    /// Sends a request once more, as a network may do that kept it.
    pub(crate) fn put_again(&self, request: PutRequest) -> Outcome {
        let mut state = self.state();
        let outcome = state.change(request.id, |state, _| state.put(&request));
        outcome.unwrap()
    }

    pub(crate) fn client(&self) -> Client {
        self.client_with(settings())
    }

    pub(crate) fn client_with(&self, settings: Settings) -> Client {
        Client::new(self.addresses.clone(), dial, settings)
    }
}

/// Short spans, so that what waits for them ends soon.
pub(crate) fn settings() -> Settings {
    Settings {
        deadline: Duration::from_secs(10),
        attempt_timeout: Duration::from_millis(300),
        connect_timeout: Duration::from_millis(300),
        backoff_min: Duration::from_millis(2),
        backoff_max: Duration::from_millis(20),
        wait_piece: Duration::from_millis(300),
        watch_check: Duration::from_millis(300),
        spread: 7,
    }
}

pub(crate) async fn dial(
    _: u64,
    address: String,
) -> Result<tonic::transport::Channel, ConnectError> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?;
    Ok(endpoint.connect().await?)
}

/// Polls until `done` gives something.
pub(crate) async fn until<T>(what: &str, mut done: impl FnMut() -> Result<T, String>) -> T {
    let mut last = String::new();
    let polling = async {
        let mut every = tokio::time::interval(POLL);
        loop {
            every.tick().await;
            match done() {
                Ok(value) => return value,
                Err(state) => last = state,
            }
        }
    };
    match tokio::time::timeout(LIMIT, polling).await {
        Ok(value) => value,
        Err(_) => panic!("{what}: not within {LIMIT:?}; at last: {last}"),
    }
}

/// Passes bytes on, until they are cut.
async fn relay(state: Arc<Mutex<State>>, id: u64, outside: TcpListener, inside: SocketAddr) {
    let mut passing = JoinSet::new();
    loop {
        let (mut near, _) = outside.accept().await.unwrap();
        let cut = state.lock().unwrap().cuts.entry(id).or_default().clone();
        let mut mute = state
            .lock()
            .unwrap()
            .mute
            .entry(id)
            .or_default()
            .subscribe();
        passing.spawn(cut.run_until_cancelled_owned(async move {
            let mut far = TcpStream::connect(inside).await.unwrap();
            let (mut asking, mut told) = near.split();
            let (mut telling, mut asked) = far.split();
            let there = tokio::io::copy(&mut asking, &mut asked);
            let back = async {
                let mut bytes = vec![0; 64 << 10];
                while let Ok(count @ 1..) = telling.read(&mut bytes).await {
                    mute.wait_for(|mute| !mute).await.unwrap();
                    if told.write_all(&bytes[..count]).await.is_err() {
                        break;
                    }
                }
            };
            tokio::select! {
                _ = there => {}
                () = back => {}
            }
        }));
    }
}

impl State {
    /// What was not used of the scripts is not for later calls.
    pub(crate) fn forget_scripts(&mut self) {
        self.faults.clear();
    }

    fn cut(&mut self, member: u64) {
        if let Some(cut) = self.cuts.remove(&member) {
            cut.cancel();
        }
    }

    fn fault(&mut self, member: u64, call: &'static str) -> Fault {
        let scripted = self.faults.get_mut(&(member, call));
        let always = self.always.get(&member).copied();
        let scripted = scripted.and_then(VecDeque::pop_front);
        scripted.or(always).unwrap_or(Fault::Works)
    }

    /// Applies a request once, as the machine does.
    fn change(
        &mut self,
        id: Option<RequestId>,
        apply: impl FnOnce(&mut Self, u64) -> Outcome,
    ) -> Result<Outcome, Status> {
        let id = id.ok_or_else(|| Status::invalid_argument("no id"))?;
        self.revision += 1;
        let Some(slots) = self.sessions.get(&id.session) else {
            return Ok(refused("SessionExpired"));
        };
        let newest = slots.get(&id.slot);
        let known = newest.map_or(0, |(sequence, _)| *sequence);
        if let Some((_, outcome)) = newest.filter(|_| id.sequence == known) {
            return Ok(outcome.clone());
        }
        if id.sequence < known {
            return Ok(refused("StaleSequence"));
        }
        if id.sequence > known + 1 {
            return Ok(refused("OutOfOrder"));
        }
        let outcome = apply(self, id.session);
        if let Some(slots) = self.sessions.get_mut(&id.session) {
            slots.insert(id.slot, (id.sequence, outcome.clone()));
        }
        Ok(outcome)
    }

    fn put(&mut self, request: &PutRequest) -> Outcome {
        let previous = self.records.get(&request.key[..]).cloned();
        let found = previous.as_ref().map_or(0, |record| record.revision);
        if request.expected.is_some_and(|expected| expected != found) {
            let reason = "RevisionChanged".to_owned();
            let message = String::new();
            return Outcome::Refused(Refused {
                reason,
                message,
                found,
            });
        }
        let record = Record {
            key: request.key.to_vec(),
            value: request.value.clone(),
            revision: self.revision,
            created: self.revision,
            version: previous.map_or(1, |record| record.version + 1),
        };
        self.records.insert(record.key.clone(), record.clone());
        let change = Some(change::Change::Put(record));
        self.history.push((self.revision, Change { change }));
        Outcome::Written(Written {
            revision: self.revision,
            previous: found,
        })
    }

    fn delete(&mut self, request: &DeleteRequest) -> Outcome {
        if request.key.is_empty() {
            return refused("OutOfBounds");
        }
        let previous = self.records.remove(&request.key);
        let change = Some(change::Change::Deleted(request.key.clone()));
        self.history.push((self.revision, Change { change }));
        Outcome::Written(Written {
            revision: self.revision,
            previous: previous.map_or(0, |record| record.revision),
        })
    }

    fn acquire(&mut self, request: &AcquireRequest, session: u64) -> Outcome {
        let fence = self.revision;
        match self.held.get(&request.scope) {
            None => {
                self.held.insert(request.scope.clone(), (session, fence));
                Outcome::Granted(Granted { fence })
            }
            Some((holder, _)) if *holder == session => refused("AlreadyHeld"),
            Some(_) if request.queue => {
                self.queue.push_back((request.scope.clone(), session));
                let ahead = 0;
                Outcome::Queued(Queued {
                    ticket: fence,
                    ahead,
                })
            }
            Some(_) => refused("Busy"),
        }
    }

    fn release(&mut self, scope: &str, session: u64) -> Outcome {
        let place = (scope.to_owned(), session);
        if self.held.get(scope).is_some_and(|held| held.0 == session) {
            self.held.remove(scope);
            let next = self.queue.iter().position(|(waits, _)| waits == scope);
            if let Some((scope, next)) = next.and_then(|at| self.queue.remove(at)) {
                self.held.insert(scope, (next, self.revision));
            }
            return Outcome::Done(Done {});
        }
        match self.queue.contains(&place) {
            true => {
                self.queue.retain(|other| *other != place);
                Outcome::Done(Done {})
            }
            false => refused("NotHeld"),
        }
    }
}

impl Member {
    /// Does a call, or what a script says instead.
    async fn call<M, T>(
        &self,
        call: &'static str,
        id: Option<RequestId>,
        request: &Request<M>,
        work: impl FnOnce(&mut State) -> Result<T, Status>,
    ) -> Result<Response<T>, Status> {
        let timeout = request.metadata().get("grpc-timeout");
        let asked = Asked {
            member: self.id,
            call,
            id,
            timeout: timeout.map(|text| text.to_str().unwrap().to_owned()),
        };
        let (fault, leads) = {
            let mut state = self.state.lock().unwrap();
            state.asked.push(asked);
            let leads = state.leader == self.id || !state.strict || call == "status";
            (state.fault(self.id, call), leads)
        };
        if !leads && fault == Fault::Works {
            return Err(self.answer(Code::Unavailable));
        }
        let work = || {
            let mut state = self.state.lock().unwrap();
            let done = work(&mut state);
            self.newest.send_replace(state.revision);
            done
        };
        let cut = || self.state.lock().unwrap().cut(self.id);
        match fault {
            Fault::Works => return work().map(Response::new),
            Fault::Answers(code) => return Err(self.answer(code)),
            Fault::DoesAndAnswers(code) => {
                work()?;
                return Err(self.answer(code));
            }
            Fault::Silent => {}
            Fault::DoesSilently => drop(work()),
            Fault::Breaks => cut(),
            Fault::DoesAndBreaks => {
                drop(work());
                cut();
            }
        }
        std::future::pending().await
    }

    async fn change<M>(
        &self,
        call: &'static str,
        id: Option<RequestId>,
        request: Request<M>,
        apply: impl FnOnce(&mut State, u64, M) -> Outcome,
    ) -> Result<Response<ChangeResponse>, Status> {
        let (metadata, extensions, message) = request.into_parts();
        let request = Request::from_parts(metadata, extensions, ());
        let work = |state: &mut State| {
            let outcome = state.change(id, |state, session| apply(state, session, message))?;
            Ok(ChangeResponse {
                revision: state.revision,
                outcome: Some(outcome),
            })
        };
        self.call(call, id, &request, work).await
    }

    fn answer(&self, code: Code) -> Status {
        let mut status = Status::new(code, "as the script says");
        let leader = self.state.lock().unwrap().leader;
        if leader != 0 {
            status.metadata_mut().insert("leader", leader.into());
        }
        status
    }
}

#[tonic::async_trait]
impl Store for Member {
    type WatchStream = BoxStream<'static, Result<WatchResponse, Status>>;

    async fn status(
        &self,
        request: Request<StatusRequest>,
    ) -> Result<Response<StatusResponse>, Status> {
        let work = |state: &mut State| {
            Ok(StatusResponse {
                cluster_id: "scripted".to_owned(),
                node_id: self.id,
                leader: state.leader,
                revision: state.revision,
            })
        };
        self.call("status", None, &request, work).await
    }

    async fn open_session(
        &self,
        request: Request<OpenSessionRequest>,
    ) -> Result<Response<OpenSessionResponse>, Status> {
        let ttl_ms = request.get_ref().ttl_ms;
        let work = |state: &mut State| {
            state.revision += 1;
            let session = state.revision;
            state.sessions.insert(session, BTreeMap::new());
            Ok(OpenSessionResponse { session, ttl_ms })
        };
        self.call("open", None, &request, work).await
    }

    async fn keep_alive(
        &self,
        request: Request<KeepAliveRequest>,
    ) -> Result<Response<KeepAliveResponse>, Status> {
        let session = request.get_ref().session;
        let work = |state: &mut State| {
            if state.leader != self.id {
                return Err(Status::unavailable("tell the leader"));
            }
            let ttl_ms = u64::from(state.sessions.contains_key(&session)) * 1_000;
            Ok(KeepAliveResponse { ttl_ms })
        };
        let answer = self.call("keep", None, &request, work).await;
        answer.map_err(|status| match status.message() {
            "tell the leader" => self.answer(Code::Unavailable),
            _ => status,
        })
    }

    async fn close_session(
        &self,
        request: Request<CloseSessionRequest>,
    ) -> Result<Response<ChangeResponse>, Status> {
        let session = request.get_ref().session;
        let work = |state: &mut State| {
            state.revision += 1;
            state.sessions.remove(&session);
            state.held.retain(|_, (holder, _)| *holder != session);
            Ok(ChangeResponse {
                revision: state.revision,
                outcome: Some(Outcome::Done(Done {})),
            })
        };
        self.call("close", None, &request, work).await
    }

    async fn put(&self, request: Request<PutRequest>) -> Result<Response<ChangeResponse>, Status> {
        let id = request.get_ref().id;
        self.change("put", id, request, |state, _, put| state.put(&put))
            .await
    }

    async fn delete(
        &self,
        request: Request<DeleteRequest>,
    ) -> Result<Response<ChangeResponse>, Status> {
        let id = request.get_ref().id;
        self.change("delete", id, request, |state, _, delete| {
            state.delete(&delete)
        })
        .await
    }

    async fn acquire(
        &self,
        request: Request<AcquireRequest>,
    ) -> Result<Response<ChangeResponse>, Status> {
        let id = request.get_ref().id;
        let apply = |state: &mut State, session, acquire| state.acquire(&acquire, session);
        self.change("acquire", id, request, apply).await
    }

    async fn release(
        &self,
        request: Request<ReleaseRequest>,
    ) -> Result<Response<ChangeResponse>, Status> {
        let id = request.get_ref().id;
        let apply = |state: &mut State, session, release: ReleaseRequest| {
            state.release(&release.scope, session)
        };
        self.change("release", id, request, apply).await
    }

    async fn wait(
        &self,
        request: Request<WaitRequest>,
    ) -> Result<Response<ChangeResponse>, Status> {
        self.call("wait", None, &request, |_| Ok(())).await?;
        let WaitRequest { session, scope } = request.into_inner();
        let mut newest = self.newest.subscribe();
        loop {
            newest.borrow_and_update();
            let outcome = {
                let state = self.state.lock().unwrap();
                match state.held.get(&scope) {
                    Some((holder, fence)) if *holder == session => {
                        Some(Outcome::Granted(Granted { fence: *fence }))
                    }
                    _ if state.queue.contains(&(scope.clone(), session)) => None,
                    _ => Some(refused("NotHeld")),
                }
            };
            if outcome.is_some() {
                let revision = 0;
                return Ok(Response::new(ChangeResponse { revision, outcome }));
            }
            newest.changed().await.unwrap();
        }
    }

    async fn get(&self, request: Request<GetRequest>) -> Result<Response<GetResponse>, Status> {
        let work = |state: &mut State| {
            Ok(GetResponse {
                revision: state.revision,
                record: state.records.get(&request.get_ref().key).cloned(),
            })
        };
        self.call("get", None, &request, work).await
    }

    async fn list(&self, request: Request<ListRequest>) -> Result<Response<ListResponse>, Status> {
        let ListRequest {
            prefix,
            after,
            limit,
            ..
        } = request.get_ref().clone();
        let work = |state: &mut State| {
            let all = state.records.values();
            let of = |record: &&Record| record.key.starts_with(&prefix) && record.key > after;
            let mut records: Vec<Record> = all.filter(of).cloned().collect();
            let more = limit > 0 && records.len() > limit as usize;
            if more {
                records.truncate(limit as usize);
            }
            Ok(ListResponse {
                revision: state.revision,
                records,
                more,
            })
        };
        self.call("list", None, &request, work).await
    }

    async fn watch(
        &self,
        request: Request<WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        self.call("watch", None, &request, |_| Ok(())).await?;
        let WatchRequest { prefix, after } = request.into_inner();
        let compacted = self.state.lock().unwrap().compacted.get(&self.id).copied();
        if compacted.is_some_and(|compacted| after < compacted) {
            let told = Err(Status::out_of_range("compacted"));
            return Ok(Response::new(stream::iter([told]).boxed()));
        }
        let start = (Arc::clone(&self.state), self.newest.subscribe(), after);
        let told = stream::unfold(start, move |(state, mut newest, after)| {
            let prefix = prefix.clone();
            async move {
                loop {
                    newest.borrow_and_update();
                    let next = {
                        let state = state.lock().unwrap();
                        let mut history = state.history.iter();
                        let found = history.find(|(revision, change)| {
                            *revision > after && key_of(change).starts_with(&prefix)
                        });
                        found.cloned()
                    };
                    if let Some((revision, change)) = next {
                        let changes = vec![change];
                        let told = WatchResponse { revision, changes };
                        return Some((Ok(told), (state, newest, revision)));
                    }
                    newest.changed().await.ok()?;
                }
            }
        });
        Ok(Response::new(told.boxed()))
    }
}

fn key_of(change: &Change) -> &[u8] {
    match &change.change {
        Some(change::Change::Put(record)) => &record.key,
        Some(change::Change::Deleted(key)) => key,
        None => &[],
    }
}

fn refused(reason: &str) -> Outcome {
    Outcome::Refused(Refused {
        reason: reason.to_owned(),
        message: "as the machine says".to_owned(),
        found: 0,
    })
}
