//! The command line's end of the control socket.

use std::path::PathBuf;

use anyhow::{Context as _, anyhow};
use reqwest::{Client, Method};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Place;
use crate::admin::Problem;
use crate::config::{self, Environment};

/// A connection to the running daemon.
pub(super) struct Control {
    client: Client,
    socket: PathBuf,
}

impl Control {
    /// Finds the socket: the one named on the command line, else the configured one. What is wrong with the configuration
    /// otherwise does not matter where a daemon is to be asked, and least of all after it refused to reload.
    pub(super) fn open(place: &Place) -> anyhow::Result<Self> {
        if let Some(socket) = &place.socket {
            return Self::at(socket.clone());
        }
        let (file, env) = (place.file()?, Environment::of_process());
        match config::places(file.as_deref(), &env) {
            Ok(places) => Self::at(places.control_socket),
            Err(errors) => {
                let likely = config::likely_places(file.as_deref(), &env).control_socket;
                if likely.exists() { Self::at(likely) } else { Err(errors.into()) }
            }
        }
    }

    fn at(socket: PathBuf) -> anyhow::Result<Self> {
        // The request goes to the socket whatever proxy the environment names.
        // No TLS is spoken there, so a machine without certificates of any authority will do.
        let client = Client::builder().unix_socket(socket.as_path()).no_proxy().tls_certs_only([]).build()?;
        Ok(Self { client, socket })
    }

    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, String)],
    ) -> anyhow::Result<T> {
        self.ask(Method::GET, path, query, None::<&()>).await
    }

    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> anyhow::Result<T> {
        self.ask(Method::POST, path, &[], Some(body)).await
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, String)],
        body: Option<&impl Serialize>,
    ) -> anyhow::Result<T> {
        let mut url = reqwest::Url::parse("http://localhost")?.join(path)?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let mut request = self.client.request(method, url);
        if let Some(body) = body {
            request = request.json(body);
        }
        // The address that is traced stands in the URL: it is nobody else's business.
        let sent = request.send().await.map_err(reqwest::Error::without_url);
        if sent.is_err() && !self.may_open() {
            let socket = self.socket.display();
            return Err(anyhow!(
                "you may not open {socket}: use sudo, or join the daemon's group (usermod -aG authrelay NAME)"
            ));
        }
        let response = sent.with_context(|| self.unreachable())?;
        if response.status().is_success() {
            return Ok(response.json().await?);
        }
        let problem: Problem = response.json().await.context("the daemon's answer is not understood")?;
        Err(anyhow!("{}", problem.detail))
    }

    fn may_open(&self) -> bool {
        let tried = std::os::unix::net::UnixStream::connect(&self.socket);
        !tried.is_err_and(|error| error.kind() == std::io::ErrorKind::PermissionDenied)
    }

    fn unreachable(&self) -> String {
        let socket = self.socket.display();
        format!(
            "no daemon answers at {socket}. Is it running (systemctl status authrelay), and with this configuration? \
             Name its file with --config, or its socket with --socket; \
             `authrelay queue list --offline` reads the queue of a daemon that is down"
        )
    }
}
