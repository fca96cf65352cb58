//! What the store keeps of stock: `stock`, `holds` and `movements`.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::holds::Hold;
use super::state::Stock;
use crate::store::{Body, Collection, Entity, Field, Index, Kind};
use crate::time::Timestamp;

/// The counters, one record for each SKU; the SKU is the id.
pub static STOCK: Collection = Collection {
    name: "stock",
    fields: &[
        Field::required("sku", Kind::Text),
        Field::required("onHand", Kind::Integer),
        Field::required("held", Kind::Integer),
    ],
    indexes: &[],
    words: &[],
    expires: None,
};

/// The holds, live ones and ended ones.
pub static HOLDS: Collection = Collection {
    name: "holds",
    fields: &[
        Field::required("id", Kind::Text),
        Field::required("userId", Kind::Text),
        Field::required("lines", Kind::List),
        Field::required("status", Kind::Text),
        Field::optional("expiresAt", Kind::Time),
        Field::required("createdAt", Kind::Time),
        Field::optional("orderId", Kind::Text),
        Field::optional(LAPSES_AT, Kind::Time),
    ],
    indexes: &[Index::by(LAPSING, &[LAPSES_AT])],
    words: &[],
    expires: None,
};

/// The stock ledger.
pub static MOVEMENTS: Collection = Collection {
    name: "movements",
    fields: &[
        Field::required("id", Kind::Text),
        Field::required("sku", Kind::Text),
        Field::required("at", Kind::Time),
        Field::required("kind", Kind::Text),
        Field::required("delta", Kind::Integer),
        Field::optional("reason", Kind::Text),
        Field::optional("reference", Kind::Text),
    ],
    indexes: &[Index::by(BY_SKU, &["sku", "at"])],
    words: &[],
    expires: None,
};

/// The index of [`HOLDS`] by the time at which a live hold ends by itself.
pub(super) const LAPSING: &str = "lapsing";
/// The index of [`MOVEMENTS`] by SKU and time.
pub(super) const BY_SKU: &str = "by_sku";
/// `expiresAt`, only as long as the hold is live: so the index holds nothing else.
const LAPSES_AT: &str = "lapsesAt";

impl Entity for Stock {
    fn collection() -> &'static Collection {
        &STOCK
    }

    fn id(&self) -> &str {
        self.sku()
    }
}

impl Entity for Hold {
    fn collection() -> &'static Collection {
        &HOLDS
    }

    fn id(&self) -> &str {
        &self.id
    }

    fn body(&self) -> Body {
        let Ok(Value::Object(mut body)) = serde_json::to_value(self) else {
            unreachable!("a hold is a struct of serialisable fields")
        };
        body.retain(|_, value| !value.is_null());
        if let Some(at) = self.lapses_at() {
            body.insert(LAPSES_AT.to_owned(), at.as_millis().into());
        }
        body
    }
}

/// What a movement did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MovementKind {
    /// Units came in or went, counted by hand.
    Adjusted,
    /// Available units were held.
    Held,
    /// Held units were sold and are no longer on hand.
    Sold,
    /// Held units became available again.
    Released,
    /// Sold units came back.
    Returned,
}

impl MovementKind {
    fn name(self) -> &'static str {
        match self {
            Self::Adjusted => "adjusted",
            Self::Held => "held",
            Self::Sold => "sold",
            Self::Released => "released",
            Self::Returned => "returned",
        }
    }
}

/// An entry of the stock ledger. It is in the same commit as the change that it tells of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Movement {
    /// `{command}:{kind}:{sku}`: a command that comes again finds the movement that it made.
    pub id: String,
    /// The SKU.
    pub sku: String,
    /// When.
    pub at: Timestamp,
    /// What was done.
    pub kind: MovementKind,
    /// Units that came (positive) or went (negative): adjusted, to or from on hand; held, from
    /// available; released, to available; sold, from on hand; returned, to on hand. So on hand is
    /// the sum of adjusted, sold and returned, and available that of adjusted, held, released and
    /// returned.
    pub delta: i64,
    /// Why, for an adjustment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The hold, or what the adjustment refers to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
}

impl Movement {
    /// The id of the movement that `command` makes.
    pub(super) fn id_of(command: &str, kind: MovementKind, sku: &str) -> String {
        format!("{command}:{}:{sku}", kind.name())
    }

    pub(super) fn of_hold(hold: &str, sku: &str, kind: MovementKind, delta: i64, at: Timestamp) -> Self {
        Self {
            id: Self::id_of(hold, kind, sku),
            sku: sku.to_owned(),
            at,
            kind,
            delta,
            reason: None,
            reference: Some(hold.to_owned()),
        }
    }
}

impl Entity for Movement {
    fn collection() -> &'static Collection {
        &MOVEMENTS
    }

    fn id(&self) -> &str {
        &self.id
    }
}
