//! How connections are made: the caller's part, for it has the certificates.

use std::future::Future;
use std::pin::Pin;
use tonic::transport::Channel;

/// Why no connection was made.
pub type ConnectError = Box<dyn std::error::Error + Send + Sync>;

/// A connection that is being made.
pub type Connecting<'a> = Pin<Box<dyn Future<Output = Result<Channel, ConnectError>> + Send + 'a>>;

/// Makes connections to members.
///
/// A function of a member's id and address that gives a future is one, too.
pub trait Connect: Send + Sync + 'static {
    /// Connects to `member` at `address`, and checks that it is that member which answers.
    ///
    /// It is asked when a connection is needed for the first time, and again after a member was silent on the one before;
    /// a connection that broke is made anew by the channel itself. It is given up after
    /// [`Settings::connect_timeout`](crate::Settings::connect_timeout).
    fn connect<'a>(&'a self, member: u64, address: &'a str) -> Connecting<'a>;
}

impl<C, F> Connect for C
where
    C: Fn(u64, String) -> F + Send + Sync + 'static,
    F: Future<Output = Result<Channel, ConnectError>> + Send + 'static,
{
    fn connect<'a>(&'a self, member: u64, address: &'a str) -> Connecting<'a> {
        Box::pin(self(member, address.to_owned()))
    }
}
