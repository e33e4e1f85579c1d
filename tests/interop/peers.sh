#!/usr/bin/env bash
# The mail programs that the interop tests talk to, from Debian 12's packages.
#
#     tests/interop/peers.sh install     get what is missing (as root); fails where a package cannot be had
#     tests/interop/peers.sh check       say what is missing and how to get it; fails where anything is
#
# Programs that get on with one another are installed. Mail servers exclude each other and want the machine for themselves:
# Postfix is installed, the others are unpacked, with all that they depend on, into build/peers/root, and run in there with
# chroot. So nothing of the machine's own is configured or started. What was unpacked is kept until the versions change.
set -euo pipefail
cd "$(dirname "$0")/../.."
export DEBIAN_FRONTEND=noninteractive

# Postfix with what it needs to log in, swaks with what it needs for TLS and SCRAM, those that users submit with,
# those that read or show notices, and the tests that Debian's Python comes without.
INSTALLED="postfix libsasl2-modules swaks libnet-ssleay-perl libauthen-sasl-perl libdigest-hmac-perl msmtp gsasl curl s-nail
    git-email libmailtools-perl libio-socket-ssl-perl nodejs node-nodemailer
    mblaze libsisimai-perl python3-flufl.bounce libpython3.11-testsuite"
# One after the other, because they exclude each other.
UNPACKED=(exim4-daemon-heavy opensmtpd "dovecot-core dovecot-lmtpd dovecot-submissiond" haproxy "sendmail-bin sendmail-cf m4 libsasl2-modules dash coreutils" dma nullmailer ssmtp
    slapd unbound)
PEERS=build/peers

not_installed() {
    local package
    for package in $INSTALLED; do
        [ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || printf '%s ' "$package"
    done
}

with_dependencies() {  # name=version of every package that the unpacked ones need: all of them, as on an empty machine
    local packages
    for packages in "${UNPACKED[@]}"; do
        # shellcheck disable=SC2086  # one word for each package
        apt-get -o Dir::State::status=/dev/null --simulate install --no-install-recommends $packages |
            sed -n 's/^Inst \([^ ]*\) (\([^ ]*\) .*/\1=\2/p' || return 1
    done | sort -u
}

install_programs() {
    local missing
    missing=$(not_installed)
    [ -n "$missing" ] || return 0
    printf 'installing: %s\n' "$missing"
    # Postfix is to be there, not to run: the tests start it with their own configuration.
    echo 'postfix postfix/main_mailer_type select No configuration' | debconf-set-selections
    # shellcheck disable=SC2086
    apt-get install -qq -y --no-install-recommends $missing >/dev/null
}

unpack_servers() {
    local wanted made_by package
    wanted=$(with_dependencies)
    made_by="$wanted $(cksum <tests/interop/peers.sh)"  # another script unpacks anew
    [ "$made_by" != "$(cat "$PEERS/unpacked" 2>/dev/null)" ] || return 0
    printf 'unpacking %s packages into %s\n' "$(wc -l <<<"$wanted")" "$PEERS/root"
    rm -rf "$PEERS/root" "$PEERS/packages" "$PEERS/unpacked"
    mkdir -p "$PEERS/packages" "$PEERS"/root/{usr/{bin,sbin,lib,lib64,lib32,libx32},etc,dev,proc,run,srv,tmp,var/tmp}
    chmod 755 build "$PEERS" "$PEERS/root"
    chmod 1777 "$PEERS"/root/{tmp,var/tmp}
    ln -s /run "$PEERS/root/var/run"
    for package in bin sbin lib lib64 lib32 libx32; do ln -s "usr/$package" "$PEERS/root/$package"; done
    # shellcheck disable=SC2086
    (cd "$PEERS/packages" && apt-get -o APT::Sandbox::User=root download -qq $wanted)
    for package in "$PEERS"/packages/*.deb; do
        dpkg-deb --fsys-tarfile "$package" | tar -x --keep-directory-symlink -C "$PEERS/root"
    done
    rm -rf "$PEERS/packages"
    settle_root
    echo "$made_by" >"$PEERS/unpacked"
}

settle_root() {  # What the packages' own scripts would have done, as far as the servers ask for it: devices, users, folders.
    local root=$PEERS/root name number=900
    ln -sf dash "$root/usr/bin/sh"
    mknod -m 666 "$root/dev/null" c 1 3
    mknod -m 666 "$root/dev/zero" c 1 5
    mknod -m 666 "$root/dev/random" c 1 8
    mknod -m 666 "$root/dev/urandom" c 1 9
    printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n' >"$root/etc/passwd"
    printf 'root:x:0:\nmail:x:8:\nnogroup:x:65534:\n' >"$root/etc/group"
    for name in Debian-exim opensmtpd opensmtpq dovecot dovenull haproxy smmta smmsp mail; do
        number=$((number + 1))
        [ "$name" = mail ] || echo "$name:x:$number:" >>"$root/etc/group"
        echo "$name:x:$number:$([ "$name" = mail ] && echo 8 || echo "$number"):$name:/var/empty:/usr/sbin/nologin" >>"$root/etc/passwd"
    done
    printf '127.0.0.1 localhost\n' >"$root/etc/hosts"
    printf 'hosts: files dns\npasswd: files\ngroup: files\n' >"$root/etc/nsswitch.conf"
    printf 'nameserver 127.0.0.1\noptions timeout:1 attempts:1\n' >"$root/etc/resolv.conf"
    # Nobody but root is to run these, and nothing in there is to give anybody root's rights.
    find "$root" -xdev -type f -perm /6000 -exec chmod ug-s {} +
    install -d -m 711 "$root/var/empty" "$root/var/lib/opensmtpd" "$root/var/lib/opensmtpd/empty"
}

case ${1:-} in
install)
    # Package lists that are old name versions that are gone.
    "$0" install-once || { apt-get update -qq && "$0" install-once; }
    "$0" check
    ;;
install-once)
    install_programs
    unpack_servers
    ;;
check)
    missing=$(not_installed)
    [ -f "$PEERS/unpacked" ] || missing="$missing${UNPACKED[*]} (in $PEERS)"
    [ -z "$missing" ] || {
        printf 'not there: %s\nas root on Debian 12: tests/interop/peers.sh install\n' "$missing" >&2
        exit 1
    }
    ;;
*)
    sed -n '2,9s/^# \{0,1\}//p' "$0" >&2
    exit 2
    ;;
esac
