//! The closed sets of `domain` in the API description. `domain` does without utoipa, so each set has a stand-in of the
//! same name here, for `#[schema(value_type = …)]`.

use std::borrow::Cow;

use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

macro_rules! stand_in {
    ($set:ident, $description:literal) => {
        #[doc = concat!("Stands in for [`domain::", stringify!($set), "`]; there are no values of it.")]
        #[derive(Debug)]
        pub enum $set {}

        impl PartialSchema for $set {
            fn schema() -> RefOr<Schema> {
                ObjectBuilder::new()
                    .schema_type(Type::String)
                    .description(Some($description))
                    .enum_values(Some(domain::$set::ALL.map(domain::$set::as_str)))
                    .into()
            }
        }

        impl ToSchema for $set {
            fn name() -> Cow<'static, str> {
                stringify!($set).into()
            }
        }
    };
}

stand_in!(OrderState, "Where an order stands.");
stand_in!(ReturnState, "Where a return stands.");
stand_in!(RefundStatus, "Where a refund stands. `FAILED` only when the gateway has refused it for good.");
stand_in!(Supply, "Whose tax it is.");
