//! What members and clients send each other: bytes in pipes, that take their time, and wait where a link is cut.
//!
//! As with TCP, a pipe keeps its order, and what is not delivered is sent again when the link is whole: bytes are late,
//! never lost, unless an end of the pipe is gone.

use crate::certs::Identity;
use crate::tls::Peer;
use bytes::Bytes;
use regraft_wal::testing::Dice;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc;
use tonic::transport::server::Connected;

/// After this long a lost first packet is sent again, milliseconds.
const CONNECT_AGAIN_MS: u64 = 200;
/// When a link is whole again, what waited is sent again within this, milliseconds.
const RESEND_MS: u64 = 200;

/// Everything that is under way. Clones are the same network.
#[derive(Clone)]
pub(crate) struct Network(Arc<Mutex<Wires>>);

/// The network as one member uses it.
#[derive(Clone)]
pub(crate) struct Pipes {
    network: Network,
    me: u64,
}

/// One end of a connection.
pub(crate) struct PipeEnd {
    network: Network,
    peer: Peer,
    read: u64,
    write: u64,
}

/// Who takes the connections that come to a member.
pub(super) type Door = mpsc::UnboundedSender<io::Result<PipeEnd>>;

struct Wires {
    cluster_id: String,
    now_ms: u64,
    seed: u64,
    /// Of each pair of ends: in which order tasks write is chance, and must change nothing.
    dice: BTreeMap<(u64, u64), Dice>,
    delay_ms_max: u64,
    /// From whom to whom nothing gets.
    cut: BTreeSet<(u64, u64)>,
    doors: BTreeMap<u64, Door>,
    /// Members whose machine is off: nobody says that a connection to them is gone.
    dark: BTreeSet<u64>,
    ways: BTreeMap<u64, Way>,
    next: u64,
}

/// One direction of a connection.
struct Way {
    from: u64,
    to: u64,
    /// The other direction.
    back: u64,
    under_way: VecDeque<(u64, Part)>,
    arrived: VecDeque<Bytes>,
    ended: Option<Ended>,
    /// The reader is gone.
    unread: bool,
    waker: Option<Waker>,
    stalled_until_ms: u64,
    dice: Dice,
}

enum Part {
    Bytes(Bytes),
    End(Ended),
}

#[derive(Clone, Copy)]
enum Ended {
    Closed,
    Reset,
}

enum Connecting {
    Connected(PipeEnd),
    Refused,
    Unanswered,
}

impl Network {
    pub(super) fn new(cluster_id: &str, seed: u64) -> Self {
        Self(Arc::new(Mutex::new(Wires {
            cluster_id: cluster_id.to_owned(),
            now_ms: 0,
            seed,
            dice: BTreeMap::new(),
            delay_ms_max: 1,
            cut: BTreeSet::new(),
            doors: BTreeMap::new(),
            dark: BTreeSet::new(),
            ways: BTreeMap::new(),
            next: 0,
        })))
    }

    /// The network as `member` uses it.
    pub(super) fn pipes_of(&self, member: u64) -> Pipes {
        Pipes {
            network: self.clone(),
            me: member,
        }
    }

    /// Lets others connect to `member`.
    pub(super) fn open_door(&self, member: u64, door: Door) {
        let mut wires = self.lock();
        wires.dark.remove(&member);
        wires.doors.insert(member, door);
    }

    /// `member` takes no connections any more.
    pub(super) fn close_door(&self, member: u64) {
        self.lock().doors.remove(&member);
    }

    /// The machine of `member` is off until it opens its door again: it says no more that its connections are gone.
    pub(super) fn darken(&self, member: u64) {
        self.lock().dark.insert(member);
    }

    pub(super) fn set_delay(&self, most_ms: u64) {
        self.lock().delay_ms_max = most_ms;
    }

    /// How long something sent now takes, milliseconds.
    pub(super) fn draw_delay(&self, from: u64, to: u64) -> u64 {
        let mut wires = self.lock();
        let most_ms = wires.delay_ms_max;
        delay(wires.dice_of(from, to), most_ms)
    }

    pub(super) fn cut(&self, from: u64, to: u64) {
        self.lock().cut.insert((from, to));
    }

    pub(super) fn mend(&self, from: u64, to: u64) {
        self.lock().cut.remove(&(from, to));
    }

    pub(super) fn is_cut(&self, from: u64, to: u64) -> bool {
        self.lock().cut.contains(&(from, to))
    }

    /// Breaks the connections between two members.
    pub(super) fn break_connections(&self, one: u64, other: u64) {
        let mut wires = self.lock();
        for way in wires.ways.values_mut() {
            if (way.from, way.to) == (one, other) || (way.from, way.to) == (other, one) {
                way.under_way.clear();
                way.end(Ended::Reset);
            }
        }
    }

    /// Delivers what is due.
    pub(super) fn deliver(&self, now_ms: u64) {
        let mut wires = self.lock();
        wires.now_ms = now_ms;
        let most_ms = wires.delay_ms_max;
        let Wires {
            cut, ways, dark, ..
        } = &mut *wires;
        let mut refused = Vec::new();
        for way in ways.values_mut() {
            let blocked = cut.contains(&(way.from, way.to));
            if blocked && !way.under_way.is_empty() {
                way.stalled_until_ms = now_ms + 1 + way.dice.below(RESEND_MS);
            }
            if blocked || now_ms < way.stalled_until_ms {
                continue;
            }
            while way.under_way.front().is_some_and(|(due, _)| *due <= now_ms) {
                let Some((_, part)) = way.under_way.pop_front() else {
                    break;
                };
                match part {
                    _ if dark.contains(&way.to) => {}
                    Part::Bytes(_) if way.unread => refused.push(way.back),
                    Part::Bytes(bytes) => way.arrive(bytes),
                    Part::End(ended) => way.end(ended),
                }
            }
        }
        for back in refused {
            if let Some(way) = wires.ways.get_mut(&back) {
                let due = now_ms + delay(&mut way.dice, most_ms);
                way.under_way.push_back((due, Part::End(Ended::Reset)));
            }
        }
        wires.forget_dead();
    }

    fn lock(&self) -> MutexGuard<'_, Wires> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pipes {
    /// Connects to `target`; waits for as long as nothing comes back.
    pub(crate) async fn connect(&self, target: u64) -> io::Result<PipeEnd> {
        loop {
            let there_and_back =
                self.network.draw_delay(self.me, target) + self.network.draw_delay(target, self.me);
            tokio::time::sleep(Duration::from_millis(there_and_back)).await;
            match self.network.lock().connect(&self.network, self.me, target) {
                Connecting::Connected(end) => return Ok(end),
                Connecting::Refused => return Err(io::ErrorKind::ConnectionRefused.into()),
                Connecting::Unanswered => {}
            }
            tokio::time::sleep(Duration::from_millis(CONNECT_AGAIN_MS)).await;
        }
    }
}

impl Wires {
    fn dice_of(&mut self, from: u64, to: u64) -> &mut Dice {
        let seed = self.seed;
        self.dice
            .entry((from, to))
            .or_insert_with(|| Dice::new(seed ^ (from << 32) ^ (to << 16)))
    }

    fn connect(&mut self, network: &Network, from: u64, to: u64) -> Connecting {
        let is_cut = self.cut.contains(&(from, to)) || self.cut.contains(&(to, from));
        if is_cut || self.dark.contains(&to) {
            return Connecting::Unanswered;
        }
        // Whoever takes it is there: a refused end would lock the network when it is dropped.
        let Some(door) = self.doors.get(&to).filter(|door| !door.is_closed()) else {
            return Connecting::Refused;
        };
        let (there, back) = (self.next, self.next + 1);
        let end = |peer: u64, read: u64, write: u64| PipeEnd {
            network: network.clone(),
            peer: Peer(Ok(Identity::Member {
                node_id: peer,
                cluster_id: self.cluster_id.clone(),
            })),
            read,
            write,
        };
        let ours = end(to, back, there);
        let _ = door.send(Ok(end(from, there, back)));
        self.next += 2;
        let seeds = (self.dice_of(from, to).any(), self.dice_of(to, from).any());
        self.ways.insert(there, Way::new(from, to, back, seeds.0));
        self.ways.insert(back, Way::new(to, from, there, seeds.1));
        Connecting::Connected(ours)
    }

    /// Ways that nobody reads and nobody writes.
    fn forget_dead(&mut self) {
        self.ways
            .retain(|_, way| !(way.unread && way.under_way.is_empty() && way.ended.is_some()));
    }
}

impl Way {
    fn new(from: u64, to: u64, back: u64, seed: u64) -> Self {
        Self {
            from,
            to,
            back,
            under_way: VecDeque::new(),
            arrived: VecDeque::new(),
            ended: None,
            unread: false,
            waker: None,
            stalled_until_ms: 0,
            dice: Dice::new(seed),
        }
    }

    fn arrive(&mut self, bytes: Bytes) {
        self.arrived.push_back(bytes);
        self.wake();
    }

    fn end(&mut self, ended: Ended) {
        self.ended.get_or_insert(ended);
        self.wake();
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl Connected for PipeEnd {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for PipeEnd {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut wires = self.network.lock();
        let Some(way) = wires.ways.get_mut(&self.read) else {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        };
        if let Some(mut bytes) = way.arrived.pop_front() {
            let taken = bytes.split_to(bytes.len().min(buffer.remaining()));
            buffer.put_slice(&taken);
            if !bytes.is_empty() {
                way.arrived.push_front(bytes);
            }
            return Poll::Ready(Ok(()));
        }
        match way.ended {
            Some(Ended::Closed) => Poll::Ready(Ok(())),
            Some(Ended::Reset) => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            None => {
                way.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl AsyncWrite for PipeEnd {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut wires = self.network.lock();
        let (now_ms, most_ms) = (wires.now_ms, wires.delay_ms_max);
        let Some(way) = wires.ways.get_mut(&self.write) else {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        };
        if way.ended.is_some() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let due = now_ms + delay(&mut way.dice, most_ms);
        let due = way.under_way.back().map_or(due, |(last, _)| due.max(*last));
        let part = Part::Bytes(Bytes::copy_from_slice(bytes));
        way.under_way.push_back((due, part));
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.close();
        Poll::Ready(Ok(()))
    }
}

impl PipeEnd {
    fn close(&self) {
        let mut wires = self.network.lock();
        let (now_ms, most_ms) = (wires.now_ms, wires.delay_ms_max);
        if let Some(way) = wires.ways.get_mut(&self.write)
            && !matches!(way.under_way.back(), Some((_, Part::End(_))))
        {
            let due = now_ms + delay(&mut way.dice, most_ms);
            let due = way.under_way.back().map_or(due, |(last, _)| due.max(*last));
            way.under_way.push_back((due, Part::End(Ended::Closed)));
        }
    }
}

impl Drop for PipeEnd {
    fn drop(&mut self) {
        let is_dark = {
            let mut wires = self.network.lock();
            if let Some(way) = wires.ways.get_mut(&self.read) {
                way.unread = true;
                way.waker = None;
                let me = way.to;
                wires.dark.contains(&me)
            } else {
                true
            }
        };
        if !is_dark {
            self.close();
        }
    }
}

/// How long something takes that is sent now, milliseconds.
fn delay(dice: &mut Dice, most_ms: u64) -> u64 {
    match dice.percent(2) {
        // Now and then a packet is lost, and sent again.
        true => 1 + dice.below(most_ms * 4 + 20),
        false => 1 + dice.below(most_ms),
    }
}
