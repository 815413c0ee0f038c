//! Header extensions that str0m does not know, and hands over as they are.

use std::sync::Arc;

use str0m::rtp::{Extension, ExtensionSerializer, ExtensionValues};

/// AV1's dependency descriptor.
pub(crate) const DEPENDENCY_DESCRIPTOR: &str =
    "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension";

/// Where it stands in our own map; offers bring their own numbers.
pub(crate) const DEPENDENCY_DESCRIPTOR_ID: u8 = 12;

/// A packet's dependency descriptor, as it came.
#[derive(Clone, Debug)]
pub(crate) struct RawDescriptor(pub(crate) Arc<[u8]>);

/// Takes descriptors in. What goes out is written by our own egress, so str0m writes none.
#[derive(Debug)]
struct DescriptorReader;

impl ExtensionSerializer for DescriptorReader {
    fn write_to(&self, _: &mut [u8], _: &ExtensionValues) -> usize {
        0
    }

    fn parse_value(&self, value: &[u8], values: &mut ExtensionValues) -> bool {
        values.user_values.set(RawDescriptor(value.into()));
        true
    }

    fn is_video(&self) -> bool {
        true
    }

    fn is_audio(&self) -> bool {
        false
    }
}

/// The dependency descriptor, for str0m's map.
pub(crate) fn dependency_descriptor() -> Extension {
    Extension::with_serializer(DEPENDENCY_DESCRIPTOR, DescriptorReader)
}
