//! What the store keeps of the catalogue: `products` and `skus`.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{labels, price};
use crate::inventory::Sku;
use crate::money::Money;
use crate::store::{Body, Collection, Entity, Field, Index, Kind, words};
use crate::time::Timestamp;

/// The products, archived ones included.
pub static PRODUCTS: Collection = Collection {
    name: "products",
    fields: &[
        Field::required("id", Kind::Text),
        Field::required("name", Kind::Text),
        Field::optional("description", Kind::Text),
        Field::optional("categoryId", Kind::Text),
        Field::required("imageUrls", Kind::List),
        Field::required("attributes", Kind::Object),
        Field::required("variants", Kind::List),
        Field::required("archived", Kind::Boolean),
        Field::required("createdAt", Kind::Time),
        Field::required(PRICE, Kind::Integer),
        Field::required(LABELS, Kind::Labels),
    ],
    indexes: &[Index::by(LISTED, &["archived", "createdAt"]), Index::by(BY_PRICE, &["archived", PRICE])],
    words: &["name", "description"],
    expires: None,
};

/// The SKUs; the SKU is the id. It makes a SKU unique for ever: no record is ever deleted.
pub static SKUS: Collection = Collection {
    name: "skus",
    fields: &[
        Field::required("sku", Kind::Text),
        Field::required("productId", Kind::Text),
        Field::required("name", Kind::Text),
        Field::required("price", Kind::Object),
        Field::required("archived", Kind::Boolean),
    ],
    indexes: &[],
    words: &[],
    expires: None,
};

/// The index of [`PRODUCTS`] by whether they are archived, and age.
pub(super) const LISTED: &str = "listed";

/// The index of [`PRODUCTS`] by whether they are archived, and price.
pub(super) const BY_PRICE: &str = "by_price";
/// The price level of the cheapest variant, derived.
const PRICE: &str = "price";
/// What a product is searched by ([`super::labels`]), derived.
const LABELS: &str = "labels";

/// What is sold, in one or more variants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Product {
    /// Its id.
    pub id: String,
    /// A digest of the command that made it, to tell a repeat from another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) command: Option<String>,
    /// What it is called.
    pub name: String,
    /// What it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The category it is in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub category_id: Option<String>,
    /// Where pictures of it are.
    pub image_urls: Vec<String>,
    /// What all its variants have in common, by name.
    pub attributes: BTreeMap<String, String>,
    /// Its variants.
    pub variants: Vec<Variant>,
    /// Whether it is no longer sold.
    pub archived: bool,
    /// When it was made.
    pub created_at: Timestamp,
}

/// What can be ordered: one SKU.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Variant {
    /// Its SKU.
    pub sku: Sku,
    /// What it is called, next to the product's name.
    pub name: String,
    /// What one unit costs.
    pub price: Money,
    /// What sets it apart from the others, by name.
    pub attributes: BTreeMap<String, String>,
}

/// What an order needs to know of a SKU.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SkuRecord {
    /// The SKU.
    pub sku: Sku,
    /// The product it is a variant of.
    pub product_id: String,
    /// What an order line is called.
    pub name: String,
    /// What one unit costs.
    pub price: Money,
    /// Whether it is no longer sold.
    pub archived: bool,
}

impl Entity for Product {
    fn collection() -> &'static Collection {
        &PRODUCTS
    }

    fn id(&self) -> &str {
        &self.id
    }

    fn body(&self) -> Body {
        let Ok(Value::Object(mut body)) = serde_json::to_value(self) else {
            unreachable!("a product is a struct of serialisable fields")
        };
        body.insert(PRICE.to_owned(), self.price_level().into());
        body.insert(LABELS.to_owned(), self.labels().into_iter().collect::<Vec<_>>().into());
        body
    }
}

impl Product {
    /// What its cheapest variant costs, as it is sorted by.
    pub(super) fn price_level(&self) -> i64 {
        self.variants.iter().map(|variant| price::level(variant.price)).min().unwrap_or_default()
    }

    /// What it is searched by and counted by, each label once.
    fn labels(&self) -> BTreeSet<String> {
        let attributes = self.attribute_pairs().into_iter();
        let attributes = attributes.map(|(name, value)| labels::attribute(name, value));
        let words = words::of(&self.name);
        let words_in_name = words.iter().map(|word| labels::word(word));
        let mut all: BTreeSet<String> = attributes.chain(words_in_name).collect();
        all.insert(labels::name(&words));
        all.extend(self.category_id.as_deref().map(labels::category));
        all.insert(labels::band(price::band(self.price_level())));
        all
    }

    /// The attributes that it or one of its variants has.
    pub(super) fn attribute_pairs(&self) -> BTreeSet<(&str, &str)> {
        let own = self.variants.iter().flat_map(|variant| &variant.attributes);
        self.attributes.iter().chain(own).map(|(name, value)| (name.as_str(), value.as_str())).collect()
    }

    /// What an order needs to know of one of its variants.
    pub(super) fn sku_record(&self, variant: &Variant) -> SkuRecord {
        SkuRecord {
            sku: variant.sku.clone(),
            product_id: self.id.clone(),
            name: self.line_name(variant),
            price: variant.price,
            archived: self.archived,
        }
    }

    /// "Shirt, blue"; just "Shirt" if the variant is not called anything of its own.
    fn line_name(&self, variant: &Variant) -> String {
        if variant.name.is_empty() || variant.name == self.name {
            self.name.clone()
        } else {
            format!("{}, {}", self.name, variant.name)
        }
    }
}

impl Entity for SkuRecord {
    fn collection() -> &'static Collection {
        &SKUS
    }

    fn id(&self) -> &str {
        self.sku.as_str()
    }
}
