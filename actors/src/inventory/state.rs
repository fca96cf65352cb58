//! The counters of one SKU and what may become of them. Pure.
//!
//! Whatever is done to a [`Stock`] through this module, `0 ≤ held ≤ on_hand`.

use serde::{Deserialize, Serialize};

use super::sku::Sku;

/// Units of one SKU on hand at most.
pub const MOST_ON_HAND: i64 = 1_000_000_000_000;

/// How much there is of one SKU, in units.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stock {
    sku: String,
    on_hand: i64,
    held: i64,
    #[serde(default, skip_serializing_if = "is_false")]
    closed: bool,
}

fn is_false(flag: &bool) -> bool {
    !flag
}

/// Why units on hand cannot change by so much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotAdjustable {
    /// Fewer would be on hand than are held.
    BelowHeld,
    /// More than [`MOST_ON_HAND`] would be on hand.
    TooMany,
}

impl Stock {
    /// None of it, as a new SKU begins.
    pub fn none_of(sku: &Sku) -> Self {
        Self { sku: sku.as_str().to_owned(), on_hand: 0, held: 0, closed: false }
    }

    /// The same, no longer to be held: its product is archived. `None` while some of it is held.
    pub fn closed(&self) -> Option<Self> {
        (self.held == 0).then(|| Self { closed: true, ..self.clone() })
    }

    /// The SKU.
    pub fn sku(&self) -> &str {
        &self.sku
    }

    /// Units in the house, held ones included.
    pub fn on_hand(&self) -> i64 {
        self.on_hand
    }

    /// Units that holds keep for someone.
    pub fn held(&self) -> i64 {
        self.held
    }

    /// Units that nobody holds; never negative.
    pub fn available(&self) -> i64 {
        self.on_hand - self.held
    }

    /// Units that anyone may have: those available, and none once it is closed.
    pub fn orderable(&self) -> i64 {
        if self.closed { 0 } else { self.available() }
    }

    /// After `delta` units came in, or went if negative.
    pub(super) fn adjusted(&self, delta: i64) -> Result<Self, NotAdjustable> {
        match self.on_hand.checked_add(delta) {
            Some(on_hand) if on_hand < self.held => Err(NotAdjustable::BelowHeld),
            Some(on_hand) if on_hand <= MOST_ON_HAND => Ok(Self { on_hand, ..self.clone() }),
            None if delta < 0 => Err(NotAdjustable::BelowHeld),
            _ => Err(NotAdjustable::TooMany),
        }
    }

    /// With `units` more held; `None` if fewer can be ordered.
    pub(super) fn holding(&self, units: i64) -> Option<Self> {
        (1..=self.orderable()).contains(&units).then(|| Self { held: self.held + units, ..self.clone() })
    }

    /// With `units` held ones sold; `None` if fewer are held.
    pub(super) fn sold(&self, units: i64) -> Option<Self> {
        (1..=self.held).contains(&units).then(|| Self {
            on_hand: self.on_hand - units,
            held: self.held - units,
            ..self.clone()
        })
    }

    /// With `units` held ones available again; `None` if fewer are held.
    pub(super) fn released(&self, units: i64) -> Option<Self> {
        (1..=self.held).contains(&units).then(|| Self { held: self.held - units, ..self.clone() })
    }

    /// With `units` sold ones back; `None` if more than [`MOST_ON_HAND`] would be on hand.
    pub(super) fn returned(&self, units: i64) -> Option<Self> {
        let on_hand = self.on_hand.checked_add(units).filter(|n| units > 0 && *n <= MOST_ON_HAND)?;
        Some(Self { on_hand, ..self.clone() })
    }
}
