//! The Pushgateway's wiring: its groups, where they are kept, what its status shows.

use std::io;
use std::sync::Arc;

use super::settings::{Settings, rows};
use super::{BUILD, clock};
use crate::collect::Own;
use crate::scrape::push::{Persist, PushFolder, PushGateway};
use crate::web::PushApi;

/// Folder of the groups below the one of the history.
const FOLDER: &str = "push";

/// The groups of the last run and the API over them; `None` where pushing is switched off. Blocks.
///
/// # Errors
/// What was kept cannot be read.
pub(super) fn open(settings: &Settings, own: &Own) -> io::Result<Option<PushApi>> {
    if !settings.push.enabled {
        return Ok(None);
    }
    let persist = match &settings.storage.path {
        Some(path) => Some(Box::new(PushFolder::open(path.join(FOLDER))?) as Box<dyn Persist>),
        None => None,
    };
    let gateway = PushGateway::open(settings.push.clone(), persist)?;
    own.register(|registry| gateway.register(registry));
    let flags = rows().iter().filter(|row| row.flag.starts_with("push.") || row.flag.starts_with("storage."));
    Ok(Some(PushApi {
        gateway: Arc::new(gateway),
        admin: settings.web.enable_admin_api,
        build: vec![
            ("branch", BUILD.branch.to_owned()),
            ("buildDate", BUILD.build_date.to_owned()),
            ("revision", BUILD.revision.to_owned()),
            ("rustVersion", BUILD.rustc.to_owned()),
            ("version", BUILD.version.to_owned()),
        ],
        flags: flags.map(|row| (row.flag, row.value(settings))).collect(),
        started: clock::now(),
    }))
}
