//! Where call sites are in the source, cached.

use rustc_hash::FxHashMap;

use super::{cache::insert_bounded, location::Described};
use crate::{
    record::{Position, Source},
    source::{Located, Sources, frame::Frame},
};

/// Positions of call sites.
pub(super) struct SiteSources {
    sources: Sources,
    /// By the text of the call site.
    known: FxHashMap<String, Option<Vec<Position>>>,
    /// That of the names when `known` was begun.
    generation: u64,
}

impl SiteSources {
    pub(super) fn new(sources: Sources) -> Self {
        Self {
            sources,
            known: FxHashMap::default(),
            generation: 0,
        }
    }

    /// Where the call site is. Only what is certain: not one of several functions of a name.
    pub(super) fn of(&mut self, place: &Described<'_>) -> Source<'_> {
        if place.generation != self.generation {
            // A module has come or gone, perhaps in another build.
            self.sources.forget_modules();
            self.known.clear();
            self.generation = place.generation;
        }
        if !self.known.contains_key(place.location) {
            let found = Frame::parse(place.location).map(|frame| self.sources.locate(&frame));
            let positions = match found {
                Some(Ok(Located::At(positions))) => Some(positions),
                Some(Ok(Located::Either(_))) | None => None,
                Some(Err(error)) => {
                    log::info!("no source line of {}: {error:#}", place.location);
                    None
                }
            };
            insert_bounded(&mut self.known, place.location.to_owned(), positions);
        }
        match self.known.get(place.location) {
            Some(Some(positions)) => Source::Positions(positions),
            _ => Source::Unknown,
        }
    }
}
