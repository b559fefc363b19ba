# Sourced. Where Debian comes from is the building machine's business: taken from its own apt
# configuration, and never in the repository or the image.

_first_uri() {
    cat /etc/apt/sources.list /etc/apt/sources.list.d/*.sources /etc/apt/sources.list.d/*.list 2>/dev/null |
        grep -E '^(URIs:|deb )' | tr ' ' '\n' | grep '://' | sed 's#/*$##' | grep -E "$1" | head -n 1
}
DEBIAN_MIRROR=$(_first_uri '/debian$') || DEBIAN_MIRROR=http://deb.debian.org/debian
SECURITY_MIRROR=$(_first_uri '/debian-security$') || SECURITY_MIRROR=http://security.debian.org/debian-security

# write_sandbox FOLDER: the tree that mkosi lays over its own apt configuration.
write_sandbox() {
    mkdir -p "$1/etc/apt/sources.list.d"
    {
        printf 'Types: deb\nURIs: %s\nSuites: trixie trixie-updates\nComponents: main non-free-firmware\n' "$DEBIAN_MIRROR"
        printf 'Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n\n'
        printf 'Types: deb\nURIs: %s\nSuites: trixie-security\nComponents: main non-free-firmware\n' "$SECURITY_MIRROR"
        printf 'Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n'
    } >"$1/etc/apt/sources.list.d/mkosi.sources"
}
