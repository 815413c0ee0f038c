//! Clients that have no allocation yet: a bounded number of them, since anybody can be one.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;

use super::client::Client;

/// Most strangers at once, some 3 KiB each.
///
/// A client needs two round trips until it is none. At the rate that strangers are answered at all
/// together, those whose addresses are made up push it out after four tenths of a second.
const MAX_STRANGERS: usize = 2048;

/// Strangers by their address; the oldest goes when there are too many.
#[derive(Default)]
pub(super) struct Strangers {
    clients: HashMap<SocketAddr, Client>,
    arrived: VecDeque<SocketAddr>,
}

impl Strangers {
    /// The stranger at an address, made by `make` if nobody is known there.
    pub(super) fn at(&mut self, source: SocketAddr, make: impl FnOnce() -> Client) -> &mut Client {
        if !self.clients.contains_key(&source) {
            // Those who have gone on are still in the queue: it is no longer than twice the others.
            while self.clients.len() >= MAX_STRANGERS || self.arrived.len() >= 2 * MAX_STRANGERS {
                let Some(oldest) = self.arrived.pop_front() else {
                    break;
                };
                self.clients.remove(&oldest);
            }
            self.arrived.push_back(source);
        }
        self.clients.entry(source).or_insert_with(make)
    }

    /// The stranger at an address becomes somebody.
    pub(super) fn take(&mut self, source: SocketAddr) -> Option<Client> {
        self.clients.remove(&source)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.clients.len()
    }
}
