//! Languages whose words can be stemmed.

use snowball_stemmers_rs::{Algorithm, Stemmer};

macro_rules! languages {
    ($($language:ident $name:literal;)*) => {
        /// A language that words are stemmed in.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum Language {
            $(#[doc = concat!("`", $name, "`")] $language,)*
        }

        impl Language {
            /// Every language there is.
            pub const ALL: &'static [Language] = &[$(Language::$language),*];

            /// The name by which schemas and expressions call it: in English, in lowercase.
            pub fn name(self) -> &'static str {
                match self { $(Language::$language => $name,)* }
            }

            pub(super) fn stemmer(self) -> Stemmer {
                Stemmer::create(match self { $(Language::$language => Algorithm::$language,)* })
            }
        }
    };
}

languages! {
    Arabic "arabic";
    Armenian "armenian";
    Basque "basque";
    Catalan "catalan";
    Czech "czech";
    Danish "danish";
    Dutch "dutch";
    English "english";
    Esperanto "esperanto";
    Estonian "estonian";
    Finnish "finnish";
    French "french";
    German "german";
    Greek "greek";
    Hindi "hindi";
    Hungarian "hungarian";
    Indonesian "indonesian";
    Irish "irish";
    Italian "italian";
    Lithuanian "lithuanian";
    Nepali "nepali";
    Norwegian "norwegian";
    Persian "persian";
    Polish "polish";
    Portuguese "portuguese";
    Romanian "romanian";
    Russian "russian";
    Serbian "serbian";
    Sesotho "sesotho";
    Spanish "spanish";
    Swedish "swedish";
    Tamil "tamil";
    Turkish "turkish";
    Ukrainian "ukrainian";
    Yiddish "yiddish";
}

impl Language {
    /// The language of a name.
    pub fn of_name(name: &str) -> Option<Language> {
        Language::ALL.iter().copied().find(|language| language.name() == name)
    }
}
