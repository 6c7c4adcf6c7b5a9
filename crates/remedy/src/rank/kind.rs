//! What a metric means, by the words of its name.

use std::fmt;

/// What a metric is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// How long its answers take.
    Latency,
    /// How long it waits for answers of others.
    ClientLatency,
    /// Answers that fail; also the share that does not succeed.
    Failure,
    /// Processor time.
    Cpu,
    /// Memory.
    Memory,
    /// Packets sent for each one received. Where packets are delayed or lost more of them go out for the same work:
    /// repeated ones, and acknowledgements on their own.
    PacketRatio,
    /// Bytes and packets.
    Network,
    /// Disks, files and calls of the kernel.
    Io,
    /// How much is asked of it.
    Traffic,
    /// Anything else.
    Other,
}

impl Kind {
    /// Each, in the order of its number.
    pub(super) const ALL: [Self; 10] = [
        Self::Latency,
        Self::ClientLatency,
        Self::Failure,
        Self::Cpu,
        Self::Memory,
        Self::PacketRatio,
        Self::Network,
        Self::Io,
        Self::Traffic,
        Self::Other,
    ];

    /// Whether only a rise is a fault; a fall is then mostly relief.
    pub(super) fn hurts_rising(self) -> bool {
        matches!(
            self,
            Self::Latency
                | Self::ClientLatency
                | Self::Failure
                | Self::Cpu
                | Self::Memory
                | Self::PacketRatio
        )
    }

    /// Whether it follows the load, so that a change is seldom a cause.
    pub(super) fn follows_load(self) -> bool {
        matches!(self, Self::Network | Self::Io | Self::Traffic)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Latency => "latency",
            Self::ClientLatency => "latency of calls",
            Self::Failure => "failures",
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::PacketRatio => "packets sent per received",
            Self::Network => "network",
            Self::Io => "io",
            Self::Traffic => "traffic",
            Self::Other => "other",
        })
    }
}

/// What the words of a name say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// A value as it is.
    Plain(Kind),
    /// A share that succeeds, of 1 or of 100.
    Success,
}

/// Reads a metric's name: whole words, `CamelCase` and `snake_case` alike; the first rule that fits.
pub(super) fn meaning(name: &str) -> Meaning {
    let words = words(name);
    let begins = |starts: &[&str]| {
        words
            .iter()
            .any(|word| starts.iter().any(|start| word.starts_with(start)))
    };
    let is = |wanted: &[&str]| words.iter().any(|word| wanted.contains(&word.as_str()));
    Meaning::Plain(
        if begins(&["latency", "duration", "responsetime"]) || is(&["lat", "rtt"]) {
            if is(&["client", "upstream", "outbound", "egress"]) {
                Kind::ClientLatency
            } else {
                Kind::Latency
            }
        } else if begins(&["availab", "success"]) {
            return Meaning::Success;
        } else if begins(&["error", "exception", "failed"]) || is(&["5xx"]) {
            Kind::Failure
        } else if is(&["cpu"]) {
            Kind::Cpu
        } else if begins(&["memory"]) || is(&["mem", "rss", "heap"]) {
            Kind::Memory
        } else if begins(&["network", "receive", "transmit", "packet"]) || is(&["tx", "rx"]) {
            Kind::Network
        } else if begins(&["disk", "syscall"])
            || is(&["fs", "io", "iops", "read", "reads", "write", "writes"])
        {
            Kind::Io
        } else if begins(&["request", "workload", "throughput"]) || is(&["ops", "qps", "rps"]) {
            Kind::Traffic
        } else {
            Kind::Other
        },
    )
}

/// For packets sent, the name of the packets received.
pub(super) fn received(name: &str) -> Option<String> {
    if !name.to_ascii_lowercase().contains("packets") {
        return None;
    }
    [("transmit", "receive"), ("sent", "received"), ("tx", "rx")]
        .iter()
        .find(|(sent, _)| name.contains(sent))
        .map(|(sent, received)| name.replace(sent, received))
}

fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut lower_before = false;
    for letter in name.chars() {
        if !letter.is_alphanumeric() || (letter.is_uppercase() && lower_before) {
            words.push(String::new());
        }
        lower_before = letter.is_lowercase();
        if letter.is_alphanumeric()
            && let Some(word) = words.last_mut()
        {
            word.extend(letter.to_lowercase());
        }
    }
    words.retain(|word| !word.is_empty());
    words
}
