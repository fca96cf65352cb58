//! What the products of a search have in common, counted. Pure.

use std::collections::BTreeMap;

use super::category::{Category, CategoryTree};
use super::labels::{self, Counted};
use super::price;
use crate::store::Tally;

/// Values of one attribute that are told at most.
const MOST_VALUES: usize = 20;
/// Attributes that are told at most.
const MOST_NAMES: usize = 50;

/// Counts over the products that a search finds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facets {
    /// How many products were counted.
    pub counted: u64,
    /// Whether these were all that the search finds.
    pub complete: bool,
    /// Categories with something in them, in the order of their ids.
    pub categories: Vec<CategoryFacet>,
    /// Attributes, by name.
    pub attributes: Vec<AttributeFacet>,
    /// Bands of prices, the lowest first.
    pub prices: Vec<PriceFacet>,
}

/// A category.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CategoryFacet {
    /// Its id.
    pub id: String,
    /// What it is called.
    pub name: String,
    /// Products in it or in a category that is in it.
    pub count: u64,
}

/// An attribute's values, the most frequent first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttributeFacet {
    /// What the attribute is called.
    pub name: String,
    /// Its values.
    pub values: Vec<ValueFacet>,
}

/// A value of an attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValueFacet {
    /// The value.
    pub value: String,
    /// Products that have it, or a variant that has it.
    pub count: u64,
}

/// A band of prices, each in its product's currency.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PriceFacet {
    /// The lowest price that is in, in whole units.
    pub from: i64,
    /// The lowest price that is out; `None` for the last band.
    pub until: Option<i64>,
    /// Products whose cheapest variant costs that.
    pub count: u64,
}

impl Facets {
    pub(super) fn of(tally: Tally, tree: &CategoryTree, categories: &[Category]) -> Self {
        let mut in_category = BTreeMap::<&str, u64>::new();
        let mut attributes = BTreeMap::<String, Vec<ValueFacet>>::new();
        let mut bands = BTreeMap::<usize, u64>::new();
        let (counted, complete) = (tally.counted, tally.complete);
        let read: Vec<(Counted, u64)> = tally
            .labels
            .into_iter()
            .filter_map(|(label, count)| Some((labels::read(&label)?, count)))
            .collect();
        for (label, count) in &read {
            match label {
                Counted::Category(id) => {
                    tree.path(id).for_each(|above| *in_category.entry(above).or_default() += count);
                }
                Counted::Attribute(name, value) => {
                    let values = attributes.entry(name.clone()).or_default();
                    values.push(ValueFacet { value: value.clone(), count: *count });
                }
                Counted::Band(band) => *bands.entry(*band).or_default() += count,
            }
        }
        let category = |category: &Category| CategoryFacet {
            id: category.id.clone(),
            name: category.name.clone(),
            count: in_category.get(category.id.as_str()).copied().unwrap_or(0),
        };
        Self {
            counted,
            complete,
            categories: categories.iter().map(category).filter(|category| category.count > 0).collect(),
            attributes: attributes.into_iter().take(MOST_NAMES).map(attribute).collect(),
            prices: bands.into_iter().map(|(band, count)| price_band(band, count)).collect(),
        }
    }
}

/// A tally has the most frequent labels first.
fn attribute((name, mut values): (String, Vec<ValueFacet>)) -> AttributeFacet {
    values.truncate(MOST_VALUES);
    AttributeFacet { name, values }
}

fn price_band(band: usize, count: u64) -> PriceFacet {
    let (from, until) = price::band_bounds(band);
    PriceFacet { from, until, count }
}
