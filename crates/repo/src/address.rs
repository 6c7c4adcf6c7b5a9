//! Where a repository is: the URL taken apart once, so that nothing later guesses at it.

use std::fmt;
use std::path::PathBuf;

/// The default user of Git over ssh.
const DEFAULT_SSH_USER: &str = "git";
/// The default port of ssh.
const DEFAULT_SSH_PORT: u16 = 22;

/// A repository's place, without secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// `http://` or `https://`.
    Http {
        /// With TLS or without.
        transport: Transport,
        /// Host name or address.
        host: String,
        /// The URL as given; it holds no user information.
        url: String,
    },
    /// `ssh://` or `user@host:path`.
    Ssh {
        /// Who logs in.
        user: String,
        /// Host name or address.
        host: String,
        /// Port.
        port: u16,
        /// The URL as given.
        url: String,
    },
    /// `file://`.
    File {
        /// The folder.
        path: PathBuf,
        /// The URL as given.
        url: String,
    },
}

/// Whether a connection is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// `http`.
    Plain,
    /// `https`.
    Tls,
}

impl Address {
    /// Takes a URL apart. The error says what is wrong and never repeats a user or password.
    ///
    /// # Errors
    /// What is wrong with the URL, for people.
    pub fn parse(url: &str) -> Result<Self, String> {
        if url
            .chars()
            .any(|c| c.is_control() || c.is_whitespace() || c == '\\')
        {
            return Err("it holds white space, a backslash or a control character".to_owned());
        }
        match url.split_once("://") {
            Some(("http", rest)) => http(Transport::Plain, rest, url),
            Some(("https", rest)) => http(Transport::Tls, rest, url),
            Some(("ssh", rest)) => ssh(rest, url),
            Some(("file", rest)) => file(rest, url),
            Some((scheme, _)) => Err(format!(
                "`{scheme}://` is not supported; use https://, http://, ssh:// or file://"
            )),
            None => scp(url),
        }
    }

    /// The URL for the connection.
    pub fn url(&self) -> &str {
        match self {
            Self::Http { url, .. } | Self::Ssh { url, .. } | Self::File { url, .. } => url,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.url())
    }
}

fn http(transport: Transport, rest: &str, url: &str) -> Result<Address, String> {
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    if authority.contains('@') {
        return Err(
            "it holds a user or password; put them into `credentials` (a file or an environment variable)"
                .to_owned(),
        );
    }
    let (host, _port) = host_and_port(authority)?;
    if path.is_empty() {
        return Err("it names no repository after the host".to_owned());
    }
    Ok(Address::Http {
        transport,
        host,
        url: url.to_owned(),
    })
}

fn ssh(rest: &str, url: &str) -> Result<Address, String> {
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (user, authority) = authority
        .rsplit_once('@')
        .unwrap_or((DEFAULT_SSH_USER, authority));
    let user = ssh_user(user)?;
    let (host, port) = host_and_port(authority)?;
    if path.is_empty() {
        return Err("it names no repository after the host".to_owned());
    }
    Ok(Address::Ssh {
        user,
        host,
        port: port.unwrap_or(DEFAULT_SSH_PORT),
        url: url.to_owned(),
    })
}

fn scp(url: &str) -> Result<Address, String> {
    let hint =
        "it is neither a URL (https://, http://, ssh://, file://) nor of the form user@host:path";
    let (user, rest) = url.rsplit_once('@').ok_or(hint)?;
    let (host, path) = rest.split_once(':').ok_or(hint)?;
    if host.is_empty() || path.is_empty() || host.contains('/') {
        return Err(hint.to_owned());
    }
    Ok(Address::Ssh {
        user: ssh_user(user)?,
        host: host.to_owned(),
        port: DEFAULT_SSH_PORT,
        url: url.to_owned(),
    })
}

fn ssh_user(user: &str) -> Result<String, String> {
    if user.contains(':') {
        return Err("it holds a password; use an ssh key".to_owned());
    }
    if user.is_empty() || user.contains('/') {
        return Err("the user before @ is not valid".to_owned());
    }
    Ok(user.to_owned())
}

fn file(rest: &str, url: &str) -> Result<Address, String> {
    if !rest.starts_with('/') {
        return Err("a file:// URL needs an absolute path, file:///srv/git/fleet.git".to_owned());
    }
    if rest.contains('%') {
        return Err("a file:// URL must not hold %".to_owned());
    }
    Ok(Address::File {
        path: PathBuf::from(rest),
        url: url.to_owned(),
    })
}

fn host_and_port(authority: &str) -> Result<(String, Option<u16>), String> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest
                .split_once(']')
                .ok_or("the address in brackets does not end")?;
            (host, after.strip_prefix(':'))
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    if host.is_empty() {
        return Err("it names no host".to_owned());
    }
    let port = port
        .map(|text| {
            text.parse::<u16>()
                .map_err(|_| "its port is not a number up to 65535".to_owned())
        })
        .transpose()?;
    Ok((host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_every_supported_form_are_taken_apart() {
        let shown: Vec<String> = [
            "https://git.example.org/fleet.git",
            "http://127.0.0.1:8080/fleet.git",
            "ssh://deploy@git.example.org:2222/srv/fleet.git",
            "ssh://git.example.org/fleet.git",
            "ssh://git@[::1]:2222/fleet.git",
            "git@git.example.org:team/fleet.git",
            "file:///srv/git/fleet.git",
        ]
        .iter()
        .map(|url| match Address::parse(url).unwrap() {
            Address::Http {
                transport, host, ..
            } => format!("{transport:?} {host}"),
            Address::Ssh {
                user, host, port, ..
            } => format!("ssh {user} {host} {port}"),
            Address::File { path, .. } => format!("file {}", path.display()),
        })
        .collect();
        assert_eq!(
            shown,
            [
                "Tls git.example.org",
                "Plain 127.0.0.1",
                "ssh deploy git.example.org 2222",
                "ssh git git.example.org 22",
                "ssh git ::1 2222",
                "ssh git git.example.org 22",
                "file /srv/git/fleet.git",
            ]
        );
    }

    #[test]
    fn refused_urls_say_why_and_never_repeat_a_secret() {
        let mut shown = String::new();
        for url in [
            "https://alice:s3cret@git.example.org/fleet.git",
            "https://s3cret@git.example.org/fleet.git",
            "ssh://alice:s3cret@git.example.org/fleet.git",
            "git://git.example.org/fleet.git",
            "https://git.example.org",
            "https:///fleet.git",
            "https://git.example.org:99999/fleet.git",
            "file://fleet.git",
            "file:///srv/my%20git/fleet.git",
            "/srv/git/fleet.git",
            "ssh://[::1/fleet.git",
            "https://git.example.org/a b",
        ] {
            let problem = Address::parse(url).unwrap_err();
            assert!(!problem.contains("s3cret"), "{problem}");
            shown.push_str(&format!("{}\n", problem));
        }
        insta::assert_snapshot!(shown, @r"
        it holds a user or password; put them into `credentials` (a file or an environment variable)
        it holds a user or password; put them into `credentials` (a file or an environment variable)
        it holds a password; use an ssh key
        `git://` is not supported; use https://, http://, ssh:// or file://
        it names no repository after the host
        it names no host
        its port is not a number up to 65535
        a file:// URL needs an absolute path, file:///srv/git/fleet.git
        a file:// URL must not hold %
        it is neither a URL (https://, http://, ssh://, file://) nor of the form user@host:path
        the address in brackets does not end
        it holds white space, a backslash or a control character
        ");
    }
}
