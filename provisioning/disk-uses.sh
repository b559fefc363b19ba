#!/bin/sh
# Why a disk must not be erased: reads what `lsblk --raw --noheadings --paths --output NAME,TYPE,MOUNTPOINTS DISK`
# prints, and prints one reason a line; nothing for a disk that nobody uses.
set -eu

first=yes
while read -r name type mountpoints; do
    if [ "$first" ]; then
        first=
        case $type in
            disk | loop) ;;
            part) echo "$name is a partition: give the whole disk" ;;
            *) echo "$name is no disk but of the type $type" ;;
        esac
    elif [ "$type" != part ]; then
        echo "$name ($type) lies on it: close or deactivate that first"
    fi
    # Several are joined by an escaped line feed.
    for mountpoint in $(printf '%s' "$mountpoints" | sed 's/\\x0a/ /g'); do
        case $mountpoint in
            / | /usr | /boot | /boot/efi | /efi) echo "the running system lies on it: $name is $mountpoint" ;;
            '[SWAP]') echo "$name is swap in use: swapoff $name" ;;
            *) echo "$name is mounted on $mountpoint: unmount it" ;;
        esac
    done
done
if [ "$first" ]; then echo "lsblk does not know it"; fi
