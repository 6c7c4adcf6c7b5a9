//! Enums whose variants are stable words.

/// Declares an enum with one word beside each variant: what people read, what is stored and what is sent. Renaming a
/// variant changes none of them.
///
/// Gives `ALL`, `as_str`, `Display`, and the same words in serde. The crate that uses it depends on serde.
#[macro_export]
macro_rules! words {
    (
        $(#[$meta:meta])*
        $vis:vis enum $type:ident {
            $($(#[$doc:meta])* $variant:ident => $word:literal,)*
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, ::serde::Serialize, ::serde::Deserialize)]
        $vis enum $type {
            $($(#[$doc])* #[serde(rename = $word)] $variant,)*
        }

        impl $type {
            /// All of them, in order.
            $vis const ALL: &[Self] = &[$(Self::$variant),*];

            /// The word.
            $vis const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }
        }

        impl ::std::fmt::Display for $type {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

#[cfg(test)]
mod tests {
    crate::words! {
        #[derive(Default)]
        enum Light {
            #[default]
            Red => "stop",
            Green => "go on",
        }
    }

    #[test]
    fn a_word_is_printed_stored_and_read_as_it_stands_beside_its_variant() {
        assert_eq!(Light::ALL, [Light::default(), Light::Green]);
        for light in Light::ALL {
            let stored = serde_json::to_value(light).unwrap();
            assert_eq!(stored, light.to_string());
            assert_eq!(serde_json::from_value::<Light>(stored).unwrap(), *light);
        }
        assert_eq!(Light::Green.as_str(), "go on");
    }
}
