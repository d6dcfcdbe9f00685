//! What the eBPF side has to say of itself, with `-v`.

use anyhow::{Context as _, Result};
use aya::Ebpf;
use aya_log::EbpfLogger;
use tokio::io::{Interest, unix::AsyncFd};

use crate::poll::poll;

/// The eBPF side's diagnostics; `None` where they are off.
pub struct Diagnostics(Option<AsyncFd<EbpfLogger<&'static dyn log::Log>>>);

impl Diagnostics {
    /// Opens the diagnostics if `level` is not 0.
    ///
    /// # Errors
    /// They can't be opened or polled.
    pub(crate) fn new(ebpf: &mut Ebpf, level: u8) -> Result<Self> {
        if level == 0 {
            return Ok(Self(None));
        }
        let logger = EbpfLogger::init(ebpf).context("opening the eBPF side's diagnostics")?;
        let polled =
            poll(logger, Interest::READABLE).context("polling the eBPF side's diagnostics")?;
        Ok(Self(Some(polled)))
    }

    /// Waits for diagnostics and logs them; never returns where they are off.
    ///
    /// # Errors
    /// They can't be polled.
    pub async fn show(&mut self) -> Result<()> {
        match &mut self.0 {
            Some(logger) => {
                let mut ready = logger
                    .readable_mut()
                    .await
                    .context("waiting for the eBPF side's diagnostics")?;
                ready.get_inner_mut().flush();
                ready.clear_ready();
                Ok(())
            }
            None => std::future::pending().await,
        }
    }
}
