//! Three members of etcd, as it comes: default durability, every write synced.

use std::path::Path;

use anyhow::{Result, bail};
use regraft_testbed::{Binary, Port, Program};
use tonic::Request;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;

use super::{Certificates, LOOPBACK, Plan};

/// Seconds of the lease that a client's locks live in.
const LEASE_S: i64 = 60;

/// One for each port; without certificates they talk plainly.
pub(super) fn plans(
    folder: &Path,
    certificates: Option<&Certificates>,
    clients: &[Port],
    peers: &[Port],
) -> Result<Vec<Plan>> {
    let scheme = certificates.map_or("http", |_| "https");
    let url = |port: &Port| format!("{scheme}://{LOOPBACK}:{}", port.number());
    let initial: Vec<String> = (1..)
        .zip(peers)
        .map(|(id, port)| format!("m{id}={}", url(port)))
        .collect();
    let initial = initial.join(",");
    let mut plans = Vec::new();
    for ((id, client), peer) in (1_u64..).zip(clients).zip(peers) {
        let name = format!("etcd-{id}");
        let data = folder.join(&name);
        let mut program = Program::new(Binary::ControlPlane.path()?)
            .args(["etcd"])
            .args([
                format!("--name=m{id}"),
                format!("--data-dir={}", data.display()),
                format!("--listen-client-urls={}", url(client)),
                format!("--advertise-client-urls={}", url(client)),
                format!("--listen-peer-urls={}", url(peer)),
                format!("--initial-advertise-peer-urls={}", url(peer)),
                format!("--initial-cluster={initial}"),
                "--initial-cluster-token=trial".to_owned(),
                "--log-level=warn".to_owned(),
            ]);
        if let Some(certificates) = certificates {
            let tls = certificates.member(id, LOOPBACK)?;
            for side in ["", "peer-"] {
                program = program.args([
                    format!("--{side}cert-file={}", tls.cert.display()),
                    format!("--{side}key-file={}", tls.key.display()),
                    format!("--{side}trusted-ca-file={}", tls.ca.display()),
                    format!("--{side}client-cert-auth"),
                ]);
            }
        }
        plans.push(Plan {
            log: folder.join(format!("{name}.log")),
            name,
            program,
            folder: data,
            address: ([127, 0, 0, 1], client.number()).into(),
        });
    }
    Ok(plans)
}

/// Whether the member at the other end leads.
pub(super) async fn leads(channel: Channel) -> Result<bool> {
    let status: api::StatusResponse = Client::over(channel)
        .call("/etcdserverpb.Maintenance/Status", api::Nothing {})
        .await?;
    let me = status.header.map(|header| header.member_id);
    Ok(status.leader != 0 && me == Some(status.leader))
}

pub(crate) struct Client {
    grpc: Grpc<Channel>,
    lease: i64,
}

impl Client {
    /// With a lease, as a session of etcd's own lock recipe has one.
    pub(super) async fn new(channel: Channel) -> Result<Self> {
        let mut client = Self::over(channel);
        let grant = api::LeaseGrantRequest { ttl: LEASE_S };
        let granted: api::LeaseGrantResponse =
            client.call("/etcdserverpb.Lease/LeaseGrant", grant).await?;
        client.lease = granted.id;
        Ok(client)
    }

    fn over(channel: Channel) -> Self {
        Self {
            grpc: Grpc::new(channel),
            lease: 0,
        }
    }

    pub(super) async fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        let put = api::PutRequest {
            key: key.to_vec(),
            value: value.to_vec(),
            lease: 0,
        };
        let _: api::Nothing = self.call("/etcdserverpb.KV/Put", put).await?;
        Ok(())
    }

    pub(super) async fn get(&mut self, key: &[u8]) -> Result<usize> {
        let range = api::KeyRequest { key: key.to_vec() };
        let found: api::RangeResponse = self.call("/etcdserverpb.KV/Range", range).await?;
        Ok(found.kvs.first().map_or(0, |pair| pair.value.len()))
    }

    /// Made if absent, with the lease, in a transaction; then deleted.
    pub(super) async fn lock(&mut self, name: &str) -> Result<()> {
        let key = name.as_bytes().to_vec();
        let put = api::PutRequest {
            key: key.clone(),
            value: Vec::new(),
            lease: self.lease,
        };
        let txn = api::TxnRequest {
            compare: vec![api::Compare {
                result: api::EQUAL,
                target: api::CREATE_REVISION,
                key: key.clone(),
                create_revision: Some(0),
            }],
            success: vec![api::RequestOp { put: Some(put) }],
        };
        let done: api::TxnResponse = self.call("/etcdserverpb.KV/Txn", txn).await?;
        if !done.succeeded {
            bail!("the lock {name} is taken")
        }
        let delete = api::KeyRequest { key };
        let _: api::Nothing = self.call("/etcdserverpb.KV/DeleteRange", delete).await?;
        Ok(())
    }

    async fn call<Q, A>(&mut self, path: &'static str, request: Q) -> Result<A>
    where
        Q: prost::Message + 'static,
        A: prost::Message + Default + 'static,
    {
        self.grpc.ready().await?;
        let codec = tonic_prost::ProstCodec::default();
        let path = PathAndQuery::from_static(path);
        let answer = self.grpc.unary(Request::new(request), path, codec).await?;
        Ok(answer.into_inner())
    }
}

/// The few messages of etcd's API that are spoken here, with the fields that are used; numbers as `etcdserverpb` has them.
mod api {
    /// `Compare.CompareResult.EQUAL`
    pub(super) const EQUAL: i32 = 0;
    /// `Compare.CompareTarget.CREATE`
    pub(super) const CREATE_REVISION: i32 = 1;

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Nothing {}

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Header {
        #[prost(uint64, tag = "2")]
        pub(super) member_id: u64,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct StatusResponse {
        #[prost(message, optional, tag = "1")]
        pub(super) header: Option<Header>,
        #[prost(uint64, tag = "4")]
        pub(super) leader: u64,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct LeaseGrantRequest {
        #[prost(int64, tag = "1")]
        pub(super) ttl: i64,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct LeaseGrantResponse {
        #[prost(int64, tag = "2")]
        pub(super) id: i64,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct PutRequest {
        #[prost(bytes = "vec", tag = "1")]
        pub(super) key: Vec<u8>,
        #[prost(bytes = "vec", tag = "2")]
        pub(super) value: Vec<u8>,
        #[prost(int64, tag = "3")]
        pub(super) lease: i64,
    }

    /// `RangeRequest` and `DeleteRangeRequest` of one key.
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct KeyRequest {
        #[prost(bytes = "vec", tag = "1")]
        pub(super) key: Vec<u8>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct KeyValue {
        #[prost(bytes = "vec", tag = "5")]
        pub(super) value: Vec<u8>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct RangeResponse {
        #[prost(message, repeated, tag = "2")]
        pub(super) kvs: Vec<KeyValue>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Compare {
        #[prost(int32, tag = "1")]
        pub(super) result: i32,
        #[prost(int32, tag = "2")]
        pub(super) target: i32,
        #[prost(bytes = "vec", tag = "3")]
        pub(super) key: Vec<u8>,
        #[prost(int64, optional, tag = "5")]
        pub(super) create_revision: Option<i64>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct RequestOp {
        #[prost(message, optional, tag = "2")]
        pub(super) put: Option<PutRequest>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct TxnRequest {
        #[prost(message, repeated, tag = "1")]
        pub(super) compare: Vec<Compare>,
        #[prost(message, repeated, tag = "2")]
        pub(super) success: Vec<RequestOp>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct TxnResponse {
        #[prost(bool, tag = "2")]
        pub(super) succeeded: bool,
    }
}
