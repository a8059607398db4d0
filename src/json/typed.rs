//! A value of a type, read from a JSON value: strictly, and with errors in the words of this program.
//!
//! serde takes a list for a type with named fields, its items in the order of the code. Nobody who
//! writes an input means that, so a list is refused wherever an object is expected. What is wrong is
//! reported with its JSON pointer.

use std::fmt;

use serde::de::value::{MapAccessDeserializer, StringDeserializer};
use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, Expected, MapAccess, SeqAccess,
    Unexpected, Visitor,
};
use serde_json::{Map, Value};

use super::pointer_token;
use crate::problem::{cut, unknown_key};

/// Why a value is not one of the type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misfit {
    /// JSON pointer to what is wrong; empty for the whole value.
    pub pointer: String,
    /// What is wrong, and what to write.
    pub what: String,
}

/// Reads a value of a type.
///
/// # Errors
/// The first thing that the type does not take.
///
/// ```
/// #[derive(serde::Deserialize)]
/// struct Size { width: u64 }
///
/// let read = |value| gatedrun::json::typed::<Size>(value);
/// assert_eq!(read(serde_json::json!({"width": 3})).unwrap().width, 3);
/// let misfit = read(serde_json::json!([3])).err().unwrap();
/// assert_eq!(misfit.what, "expected an object, found an array of 1");
/// let misfit = read(serde_json::json!({"width": -1})).err().unwrap();
/// assert_eq!((misfit.pointer.as_str(), misfit.what.as_str()), ("/width", "expected a whole number from 0, found -1"));
/// ```
pub fn typed<T: DeserializeOwned>(value: Value) -> Result<T, Misfit> {
    T::deserialize(Node(value))
}

/// A value where it is short, else what it is.
pub fn shown(value: &Value) -> String {
    match value {
        Value::String(text) if text.len() > SHOWN_BYTES_MAX => {
            let cut: String = text.chars().take(SHOWN_BYTES_MAX / 2).collect();
            format!("a text of {} characters ({cut:?}…)", text.chars().count())
        }
        Value::Array(items) if items.is_empty() => "an empty array".to_owned(),
        Value::Array(items) => format!("an array of {}", items.len()),
        Value::Object(_) => "an object".to_owned(),
        short => short.to_string(),
    }
}

/// How long a text may be that stands in a message as it is.
pub const SHOWN_BYTES_MAX: usize = 80;

/// What is expected, in words, from what the code calls it.
fn plain(expected: &str) -> &str {
    match expected {
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number from 0",
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number",
        "f32" | "f64" => "a number",
        "a boolean" => "true or false",
        "a sequence" => "an array",
        "a map" => "an object",
        "string or map" => "a string or an object",
        _ if expected.starts_with("struct ") => "an object",
        other => other,
    }
}

impl Misfit {
    fn new(what: String) -> Self {
        Self { pointer: String::new(), what }
    }

    /// Where it is, as a [`crate::problem::Problem`] names a place: `/` for the whole value.
    pub fn at(&self) -> &str {
        if self.pointer.is_empty() { "/" } else { &self.pointer }
    }

    fn expected(expected: &str, found: &str) -> Self {
        Self::new(format!("expected {}, found {found}", plain(expected)))
    }

    /// The same below a key or an index.
    fn below(mut self, token: &str) -> Self {
        self.pointer = format!("/{}{}", pointer_token(token), self.pointer);
        self
    }
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for Misfit {}

impl de::Error for Misfit {
    fn custom<T: fmt::Display>(what: T) -> Self {
        Self::new(what.to_string())
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::expected(&expected.to_string(), &words(found))
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::expected(&expected.to_string(), &words(found))
    }

    fn invalid_length(length: usize, expected: &dyn Expected) -> Self {
        Self::expected(&expected.to_string(), &format!("an array of {length}"))
    }

    fn unknown_variant(variant: &str, known: &'static [&'static str]) -> Self {
        let listed: Vec<String> = known.iter().map(|word| format!("{word:?}")).collect();
        let found = shown(&Value::from(variant));
        Self::new(format!("expected one of {}, found {found}", listed.join(", ")))
    }

    fn unknown_field(field: &str, known: &'static [&'static str]) -> Self {
        Self::new(unknown_key(field, known, known)).below(field)
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new(format!("{field:?} is missing; add it"))
    }

    fn duplicate_field(field: &'static str) -> Self {
        Self::new(format!("duplicate key {field:?}; keep one of the two"))
    }
}

/// What was found, in words.
fn words(found: Unexpected<'_>) -> String {
    match found {
        Unexpected::Bool(value) => value.to_string(),
        Unexpected::Unsigned(value) => value.to_string(),
        Unexpected::Signed(value) => value.to_string(),
        Unexpected::Float(value) => value.to_string(),
        Unexpected::Str(text) => shown(&Value::from(text)),
        Unexpected::Unit | Unexpected::Option => "null".to_owned(),
        Unexpected::Seq => "a list".to_owned(),
        Unexpected::Map => "an object".to_owned(),
        other => cut(&other.to_string()).into_owned(),
    }
}

/// A value that is read.
struct Node(Value);

impl Node {
    /// That this value is not what is expected.
    fn misfit(&self, expected: &str) -> Misfit {
        Misfit::expected(expected, &shown(&self.0))
    }
}

/// Reads the one kind of value that a type takes, and refuses the rest in words.
macro_rules! only {
    ($($method:ident: $pattern:pat, $expected:literal;)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
            match &self.0 {
                $pattern => self.deserialize_any(visitor),
                _ => Err(self.misfit($expected)),
            }
        }
    )*};
}

impl<'de> Deserializer<'de> for Node {
    type Error = Misfit;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        match self.0 {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(value),
            Value::Number(number) => match (number.as_u64(), number.as_i64(), number.as_f64()) {
                (Some(value), ..) => visitor.visit_u64(value),
                (_, Some(value), _) => visitor.visit_i64(value),
                (.., value) => visitor.visit_f64(value.unwrap_or(f64::NAN)),
            },
            Value::String(text) => visitor.visit_string(text),
            Value::Array(items) => visitor.visit_seq(Items { items: items.into_iter(), index: 0 }),
            Value::Object(map) => visitor.visit_map(Members::of(map)),
        }
    }

    only! {
        deserialize_bool: Value::Bool(_), "a boolean";
        deserialize_u8: Value::Number(_), "u8";
        deserialize_u16: Value::Number(_), "u16";
        deserialize_u32: Value::Number(_), "u32";
        deserialize_u64: Value::Number(_), "u64";
        deserialize_i8: Value::Number(_), "i8";
        deserialize_i16: Value::Number(_), "i16";
        deserialize_i32: Value::Number(_), "i32";
        deserialize_i64: Value::Number(_), "i64";
        deserialize_f32: Value::Number(_), "f32";
        deserialize_f64: Value::Number(_), "f64";
        deserialize_string: Value::String(_), "a string";
        deserialize_seq: Value::Array(_), "a sequence";
        deserialize_map: Value::Object(_), "a map";
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        self.deserialize_map(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        match self.0 {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        match self.0 {
            Value::String(text) => visitor.visit_enum(StringDeserializer::new(text)),
            Value::Object(map) => visitor.visit_enum(MapAccessDeserializer::new(Members::of(map))),
            _ => Err(self.misfit("string or map")),
        }
    }

    serde::forward_to_deserialize_any! {
        i128 u128 char str bytes byte_buf unit unit_struct tuple tuple_struct identifier ignored_any
    }
}

/// The items of a list that are left.
struct Items {
    items: std::vec::IntoIter<Value>,
    index: usize,
}

impl<'de> SeqAccess<'de> for Items {
    type Error = Misfit;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Misfit> {
        let Some(item) = self.items.next() else { return Ok(None) };
        let index = self.index;
        self.index += 1;
        seed.deserialize(Node(item)).map(Some).map_err(|error| error.below(&index.to_string()))
    }
}

/// The members of an object that are left.
struct Members {
    left: serde_json::map::IntoIter,
    /// The value of the key that was read last, with that key.
    value: Option<(String, Value)>,
}

impl Members {
    fn of(map: Map<String, Value>) -> Self {
        Self { left: map.into_iter(), value: None }
    }
}

impl<'de> MapAccess<'de> for Members {
    type Error = Misfit;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Misfit> {
        let Some((key, value)) = self.left.next() else { return Ok(None) };
        self.value = Some((key.clone(), value));
        seed.deserialize(StringDeserializer::new(key)).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Misfit> {
        let (key, value) = self.value.take().unwrap_or_default();
        seed.deserialize(Node(value)).map_err(|error| error.below(&key))
    }
}
