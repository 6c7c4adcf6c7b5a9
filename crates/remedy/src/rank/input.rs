//! What a ranking is made from.

/// Two windows of everything that is measured, and what is known besides.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Input {
    /// When the normal samples were taken, seconds since 1970, in any order. Samples right before the incident tell
    /// drift from onset; without times the whole window counts alike.
    pub normal_times_s: Vec<i64>,
    /// When the anomalous samples were taken, seconds since 1970, ascending.
    pub anomalous_times_s: Vec<i64>,
    /// The services that may be to blame.
    pub services: Vec<Service>,
    /// Who calls whom; cycles and names of others do no harm.
    pub calls: Vec<Call>,
    /// What was changed not long ago.
    pub changes: Vec<RecentChange>,
    /// Where the failure was noticed.
    pub symptom: Option<Symptom>,
}

/// A service, or one of its replicas.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Service {
    /// Unique in the input; a doubled name is ranked twice.
    pub name: String,
    /// What it is a replica of. Calls and changes may name this instead.
    pub workload: Option<String>,
    /// What is measured of it.
    pub metrics: Vec<Metric>,
}

/// Samples of one metric; counters as rates. NaN and infinities are missing samples.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metric {
    /// As the monitoring calls it. Its words (latency, error, cpu, ...) tell what the metric means; metrics of the same
    /// name are compared between services.
    pub name: String,
    /// One sample for each of [`Input::normal_times_s`].
    pub normal: Vec<f64>,
    /// One sample for each of [`Input::anomalous_times_s`]; empty when it vanished.
    pub anomalous: Vec<f64>,
}

/// A service asks another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Name or workload of who asks.
    pub caller: String,
    /// Name or workload of who answers.
    pub callee: String,
}

/// Something was changed.
#[derive(Clone, Debug, PartialEq)]
pub struct RecentChange {
    /// Name or workload of what was changed.
    pub service: String,
    /// Seconds from the change to the begin of the anomalous window; negative when it came later.
    pub ago_s: f64,
}

/// A metric that the failure was noticed by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Symptom {
    /// [`Service::name`].
    pub service: String,
    /// [`Metric::name`].
    pub metric: String,
}

impl Service {
    pub(super) fn is(&self, name: &str) -> bool {
        self.name == name || self.workload.as_deref() == Some(name)
    }
}
