//! News of upstreams: told to whoever wants to know, and remembered, so that the end of what was told before a restart is told
//! after it.

use rusqlite::Connection;

use super::change::Work;
use super::row::failed;
use crate::event::{Notice, UpstreamNews, UpstreamTurn};
use crate::ident::UpstreamName;
use crate::queue::store::{Effect, StoreError};

/// Before the name of an upstream that is down, in the names of `meta`.
const DOWN: &str = "upstream-down ";

impl Work<'_> {
    /// Tells the news, and remembers which way the upstream went.
    pub(super) fn announce(&mut self, news: UpstreamNews) -> Result<Effect, StoreError> {
        let name = format!("{DOWN}{}", news.upstream);
        let sql = match news.turn {
            UpstreamTurn::Down => "INSERT OR REPLACE INTO meta (name, value) VALUES (?1, X'01')",
            UpstreamTurn::Up => "DELETE FROM meta WHERE name = ?1",
        };
        self.conn.prepare_cached(sql).map_err(failed)?.execute([name]).map_err(failed)?;
        self.notify(&Notice::Upstream(news))?;
        Ok(Effect::Done)
    }
}

/// The upstreams that were last told to be down.
pub(super) fn down(conn: &Connection) -> Result<Vec<UpstreamName>, StoreError> {
    let sql = "SELECT substr(name, length(?1) + 1) FROM meta WHERE substr(name, 1, length(?1)) = ?1";
    let mut statement = conn.prepare_cached(sql).map_err(failed)?;
    let found =
        statement.query_map([DOWN], |row| row.get::<_, String>(0).map(UpstreamName::new)).map_err(failed)?;
    found.collect::<Result<_, _>>().map_err(failed)
}
