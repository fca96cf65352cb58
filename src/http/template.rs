//! Paths as they are written in routes: `/v1/users/{id}`.

/// A path of which some segments are parameters.
pub(super) struct Template {
    segments: Vec<Segment>,
}

enum Segment {
    Literal(String),
    Parameter,
}

impl Template {
    /// The templates of a documented path: itself, and without its version if it answers there.
    pub(super) fn all_of(path: &str) -> impl Iterator<Item = Self> {
        [Some(path), without_version(path)].into_iter().flatten().map(Self::new)
    }

    fn new(path: &str) -> Self {
        let segment = |segment: &str| match segment.starts_with('{') {
            true => Segment::Parameter,
            false => Segment::Literal(segment.to_owned()),
        };
        Self { segments: path.split('/').map(segment).collect() }
    }

    /// Whether a path of these segments is one of this template's.
    pub(super) fn matches(&self, path: &[&str]) -> bool {
        self.segments.len() == path.len()
            && self.segments.iter().zip(path).all(|(segment, given)| match segment {
                Segment::Literal(text) => text == given,
                Segment::Parameter => !given.is_empty(),
            })
    }

    /// How much of the path it names. Of several templates that match, the one that names most is
    /// meant.
    pub(super) fn literals(&self) -> usize {
        self.segments.iter().filter(|segment| matches!(segment, Segment::Literal(_))).count()
    }

    /// The path, if it has no parameter.
    pub(super) fn fixed(&self) -> Option<String> {
        let literal = |segment: &Segment| match segment {
            Segment::Literal(text) => Some(text.clone()),
            Segment::Parameter => None,
        };
        self.segments.iter().map(literal).collect::<Option<Vec<_>>>().map(|path| path.join("/"))
    }

    /// How many segments it has.
    pub(super) fn len(&self) -> usize {
        self.segments.len()
    }
}

/// The path without its version, where it answers there too.
fn without_version(path: &str) -> Option<&str> {
    path.strip_prefix("/v1").filter(|rest| rest.starts_with('/'))
}
