//! The tables of the vocabulary: a row holds everything about a word or a kind of event, and the
//! code that repeats it is made from the rows.

/// An enum whose variants are words: a row is a variant and the word for it in artifacts.
macro_rules! words {
    (
        $(#[$about:meta])*
        pub enum $name:ident { $($(#[$says:meta])* $variant:ident => $word:literal,)+ }
    ) => {
        $(#[$about])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord,
            serde::Serialize, serde::Deserialize, schemars::JsonSchema,
        )]
        pub enum $name {
            $($(#[$says])* #[serde(rename = $word)] $variant,)+
        }

        impl $name {
            /// All of them, in the order of the table.
            pub const ALL: [Self; [$(Self::$variant),+].len()] = [$(Self::$variant),+];

            /// The word in artifacts.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }
        }
    };
    // With an attribute of the trace for each word, under a prefix.
    (
        $(#[$about:meta])*
        pub enum $name:ident under $prefix:literal {
            $($(#[$says:meta])* $variant:ident => $word:literal,)+
        }
    ) => {
        words! {
            $(#[$about])*
            pub enum $name { $($(#[$says])* $variant => $word,)+ }
        }

        impl $name {
            /// The attribute's name in a trace.
            pub fn attribute(self) -> &'static str {
                match self {
                    $(Self::$variant => concat!($prefix, $word),)+
                }
            }
        }
    };
    // With more columns than the word.
    (
        $(#[$about:meta])*
        pub enum $name:ident with $facts:ty {
            $($(#[$says:meta])* $variant:ident => $word:literal, $row:expr;)+
        }
    ) => {
        words! {
            $(#[$about])*
            pub enum $name { $($(#[$says])* $variant => $word,)+ }
        }

        impl $name {
            /// The columns of its row.
            pub const fn facts(self) -> $facts {
                match self {
                    $(Self::$variant => $row,)+
                }
            }
        }
    };
}

/// The events: a row is a kind as the ledger spells it, and the type of the event's fields.
///
/// The kind comes first in a line, so the rest is read straight into its type. What serde derives
/// would first keep every member aside, which takes a third of the time that reading a ledger
/// takes.
macro_rules! events {
    (
        $(#[$about:meta])*
        pub enum $name:ident { $($(#[$says:meta])* $kind:literal => $variant:ident($fields:ty),)+ }
    ) => {
        $(#[$about])*
        #[derive(Debug, Clone, PartialEq, serde::Serialize, schemars::JsonSchema)]
        #[serde(tag = "kind")]
        pub enum $name {
            $($(#[$says])* #[serde(rename = $kind)] $variant($fields),)+
        }

        impl $name {
            /// The kind as the ledger spells it.
            pub fn kind(&self) -> &'static str {
                match self {
                    $(Self::$variant(_) => $kind,)+
                }
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                #[derive(serde::Deserialize)]
                #[serde(rename_all = "snake_case")]
                enum First {
                    Kind,
                }
                #[derive(serde::Deserialize)]
                enum Kind {
                    $(#[serde(rename = $kind)] $variant,)+
                }
                struct Reader;

                impl<'de> serde::de::Visitor<'de> for Reader {
                    type Value = $name;

                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str("an event, its kind first")
                    }

                    fn visit_map<A: serde::de::MapAccess<'de>>(
                        self,
                        mut map: A,
                    ) -> Result<$name, A::Error> {
                        let Some(First::Kind) = map.next_key()? else {
                            return Err(serde::de::Error::missing_field("kind"));
                        };
                        let kind: Kind = map.next_value()?;
                        let rest = serde::de::value::MapAccessDeserializer::new(map);
                        Ok(match kind {
                            $(Kind::$variant => $name::$variant(serde::Deserialize::deserialize(rest)?),)+
                        })
                    }
                }

                deserializer.deserialize_map(Reader)
            }
        }
    };
}
