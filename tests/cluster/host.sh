#!/bin/sh
# The first process of a host of tests/cluster/namespaces.py, in namespaces of its own: mounts, name, then sshd.
# usage: host.sh ROOT NAME TMP_SIZE KEPT...   KEPT: paths that stay visible below the folders that are hidden.
set -eu
root=$1 name=$2 tmp_size=$3
shift 3
home=$(getent passwd "$(id -u)" | cut -d: -f6)
hostname "$name"
ip link set lo up

# The shared folder that the documents ask for, where Debian expects data to be served.
mount --bind "$root/shared" /srv
# What the machine has below /tmp and the user's home is out of sight, but for the interpreter and this checkout.
mount --rbind / /media
mount -t tmpfs -o size="$tmp_size",mode=1777 "dg-$name" /tmp
mount --bind "/media$root/$name" "$home"
mount -t tmpfs -o size=2g,mode=1777 "dg-$name" /dev/shm
mount -t tmpfs "dg-$name" /run
for path in "$root" "$@"; do
    case $path/ in
    /tmp/* | "$home"/*)
        mkdir -p "$path"
        mount --bind "/media$path" "$path"
        ;;
    esac
done
umount -l /media
mkdir -m 755 /run/sshd
mount --bind "$root/hosts" /etc/hosts
mount --bind "$root/resolv.conf" /etc/resolv.conf  # nobody is asked for names
echo up > "$root/$name/.up"
if [ "$name" = laptop ]; then exec sleep infinity; fi
exec "$(command -v sshd)" -D -f "$root/sshd_config" -E "$root/sshd-$name.log"
