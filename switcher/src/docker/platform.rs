//! Which of an image's platforms an engine takes. Pure.
//!
//! A platform is `os/arch[/variant]`, in the words of images: `linux/amd64`, `linux/arm64`, `linux/arm/v7`.

use bollard::models::OciPlatform;

/// The engine's own platform, from what it says of its system, its architecture and its machine (`uname -m`).
pub(super) fn of_engine(os: &str, arch: &str, machine: &str) -> String {
    let variant = match machine {
        "armv7l" => "/v7",
        "armv6l" => "/v6",
        "armv5l" | "armv5tel" => "/v5",
        _ => "",
    };
    let variant = if arch == "arm" { variant } else { "" };
    format!("{os}/{arch}{variant}")
}

/// What a registry says of one of an image's platforms; none for what is no image, such as an attestation.
pub(super) fn of_image(platform: &OciPlatform) -> Option<String> {
    let os = platform.os.as_deref().filter(|os| !os.is_empty() && *os != "unknown")?;
    let arch = platform.architecture.as_deref().filter(|arch| !arch.is_empty() && *arch != "unknown")?;
    Some(joined(os, arch, platform.variant.as_deref()))
}

/// `os/arch[/variant]`, without the variants that mean nothing.
pub(super) fn joined(os: &str, arch: &str, variant: Option<&str>) -> String {
    match variant {
        None | Some("") => format!("{os}/{arch}"),
        Some(variant) => plain(&format!("{os}/{arch}/{variant}")).to_owned(),
    }
}

/// Every 64-bit ARM is v8, and every amd64 is v1: both are what is meant without a variant.
fn plain(platform: &str) -> &str {
    if let Some(bare) = platform.strip_suffix("/v8").filter(|bare| bare.ends_with("/arm64")) {
        return bare;
    }
    platform.strip_suffix("/v1").filter(|bare| bare.ends_with("/amd64")).unwrap_or(platform)
}

/// The image's platform that serves `wanted`: the same, else for 32-bit ARM the newest variant that is no newer.
pub(super) fn choose(wanted: &str, offered: &[String]) -> Option<String> {
    let wanted = plain(wanted);
    if let Some(same) = offered.iter().find(|platform| plain(platform) == wanted) {
        return Some(plain(same).to_owned());
    }
    let (family, newest) = variant_of_arm(wanted)?;
    offered
        .iter()
        .filter_map(|platform| Some((variant_of_arm(platform)?, platform)))
        .filter(|((os, variant), _)| *os == family && *variant <= newest)
        .max_by_key(|((_, variant), _)| *variant)
        .map(|(_, platform)| platform.clone())
}

/// `linux/arm/v6` is (`linux`, 6); without a variant it is 7, as everywhere else.
fn variant_of_arm(platform: &str) -> Option<(&str, u8)> {
    let (os, rest) = platform.split_once("/arm")?;
    let variant = match rest {
        "" => 7,
        _ => rest.strip_prefix("/v")?.parse().ok()?,
    };
    Some((os, variant))
}

/// Whether an image of platform `found` is what was chosen; engines leave out variants they do not care for.
pub(super) fn same(chosen: &str, found: &str) -> bool {
    let (chosen, found) = (plain(chosen), plain(found));
    let bare = |platform: &str| platform.splitn(3, '/').take(2).collect::<Vec<_>>().join("/");
    chosen == found || (bare(chosen) == bare(found) && (found == bare(found) || chosen == bare(chosen)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(wanted: &str, offered: &[&str]) -> Option<String> {
        choose(wanted, &offered.iter().map(|platform| (*platform).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn an_engine_takes_the_image_made_for_it() {
        let all = ["linux/amd64", "linux/arm64/v8", "linux/arm/v6", "linux/arm/v7"];
        for (wanted, taken) in [
            ("linux/amd64", Some("linux/amd64")),
            ("linux/arm64", Some("linux/arm64")),
            ("linux/arm64/v8", Some("linux/arm64")),
            ("linux/arm/v7", Some("linux/arm/v7")),
            ("linux/arm/v6", Some("linux/arm/v6")),
            ("linux/arm/v5", None),
            ("linux/riscv64", None),
            ("windows/amd64", None),
        ] {
            assert_eq!(chosen(wanted, &all).as_deref(), taken, "{wanted}");
        }
    }

    #[test]
    fn a_newer_arm_runs_what_is_made_for_an_older_one() {
        assert_eq!(
            chosen("linux/arm/v7", &["linux/arm/v5", "linux/arm/v6"]).as_deref(),
            Some("linux/arm/v6")
        );
        assert_eq!(chosen("linux/arm/v6", &["linux/arm"]), None);
        assert_eq!(chosen("linux/arm64", &["linux/arm/v7"]), None, "64-bit engines often cannot");
    }

    #[test]
    fn attestations_are_no_platforms() {
        let unknown = OciPlatform {
            os: Some("unknown".to_owned()),
            architecture: Some("unknown".to_owned()),
            ..OciPlatform::default()
        };
        assert_eq!(of_image(&unknown), None);
    }

    #[test]
    fn the_machine_tells_the_variant_of_an_arm() {
        assert_eq!(of_engine("linux", "arm", "armv7l"), "linux/arm/v7");
        assert_eq!(of_engine("linux", "arm64", "aarch64"), "linux/arm64");
        assert_eq!(of_engine("linux", "amd64", "x86_64"), "linux/amd64");
    }

    #[test]
    fn an_image_without_a_variant_is_not_mistaken_for_another_platform() {
        assert!(same("linux/arm/v7", "linux/arm"));
        assert!(same("linux/arm64", "linux/arm64/v8"));
        assert!(!same("linux/arm/v6", "linux/arm/v7"));
        assert!(!same("linux/amd64", "linux/arm64"));
    }
}
