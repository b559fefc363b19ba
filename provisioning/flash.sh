#!/usr/bin/env bash
# Writes an image to a disk, and the site file and the admin's key beside the boot loader.
set -euo pipefail
export LC_ALL=C MTOOLSRC=/dev/null MTOOLS_SKIP_CHECK=1

# What image/mkosi.extra/usr/lib/repart.d needs at the first boot: FAT 0.5, two slots of 1.6, var 2, models 1 GiB.
disk_bytes_min=$((7 << 30))
chunk=4M
esp_type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B
here=$(cd "$(dirname "$0")" && pwd)

usage() {
    cat >&2 <<'END'
usage: flash.sh --device DISK --image FILE.raw.zst [--site site.toml] [--key admin.pub]
                [--nabi PROGRAM] [--yes-erase MODEL]
Erases DISK (a whole disk, or an existing file for a virtual machine) and writes the image to it.
Asks for the disk's model first; --yes-erase gives it beforehand, for scripts.
END
    exit 2
}

refuse() {
    echo "flash.sh: $*" >&2
    exit 1
}

device='' image='' site='' key='' nabi=nabi model_given=''
while [ $# -gt 0 ]; do
    [ $# -ge 2 ] || usage
    case $1 in
        --device) device=$2 ;;
        --image) image=$2 ;;
        --site) site=$2 ;;
        --key) key=$2 ;;
        --nabi) nabi=$2 ;;
        --yes-erase) model_given=$2 ;;
        *) usage ;;
    esac
    shift 2
done
if [ -z "$device" ] || [ -z "$image" ]; then usage; fi

work=$(mktemp -d)
phase=checking
finish() {
    local status=$?
    rm -rf "$work"
    if [ $phase = writing ]; then
        echo >&2
        echo "flash.sh: not finished: $device is now UNUSABLE and boots nothing. Run the same command again." >&2
        exit $((status ? status : 1))
    fi
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

need_programs() {
    local program
    for program in zstd sfdisk mcopy mmd flock lsblk blockdev sha256sum "$nabi"; do
        command -v "$program" >/dev/null ||
            refuse "the program $program is missing: run provisioning/debian-packages.sh flash"
    done
}

# Before anything is erased: what is to be written is whole, and the machine will accept the set-up.
check_inputs() {
    [ -f "$image" ] || refuse "there is no image $image"
    local sums
    sums=$(dirname "$image")/SHA256SUMS
    if [ -e "$sums" ]; then
        local line
        line=$(awk -v name="$(basename "$image")" '$2 == name || $2 == "*" name' "$sums")
        [ "$line" ] || refuse "$sums does not list $(basename "$image"): take both from the same place"
        (cd "$(dirname "$image")" && sha256sum --check --status <<<"$line") ||
            refuse "$image is damaged: its SHA-256 is not that in $sums. Fetch it again."
        echo "image: as $sums says"
    fi
    local files=()
    [ -z "$site" ] || files+=("$site")
    [ -z "$key" ] || files+=(--keys "$key")
    [ ${#files[@]} -gt 0 ] || refuse "give the admin's public key: --key admin.pub, or admin_keys in --site site.toml"
    "$nabi" site check "${files[@]}" || refuse "nothing was written: correct the files above first"
    # dd counts, and a damaged archive shows itself now.
    image_sha256=$(zstd -dcq -- "$image" | dd bs=$chunk iflag=fullblock 2>"$work/count" | sha256sum) ||
        refuse "$image cannot be unpacked: fetch it again"
    image_sha256=${image_sha256%% *}
    image_bytes=$(awk '/bytes/ { print $1 }' "$work/count")
    find_fat
}

# Where the boot loader's partition begins, by the table at the image's head.
find_fat() {
    local found
    { zstd -dcq -- "$image" 2>/dev/null || true; } | head -c 1048576 >"$work/head"
    truncate --size="$image_bytes" "$work/head"
    found=$(sfdisk --dump -- "$work/head" 2>/dev/null |
        sed -n "s/^.*head\([0-9]*\) *: start= *\([0-9]*\),.*type=$esp_type.*/\1 \2/p") || true
    [[ $found =~ ^([0-9]+)\ ([0-9]+)$ ]] || refuse "$image is no image of Nabi: it has no FAT partition for the boot loader"
    fat_number=${BASH_REMATCH[1]} fat_offset=$((BASH_REMATCH[2] * 512))
}

check_device() {
    [ -e "$device" ] || refuse "there is no $device: lsblk lists the disks"
    device=$(readlink --canonicalize-existing -- "$device")
    if [ -b "$device" ]; then
        # A disk that udev has just seen may lack its model.
        ! command -v udevadm >/dev/null || udevadm settle --timeout=10 || true
        check_disk
    elif [ -f "$device" ]; then
        [ -w "$device" ] || refuse "$device is read-only"
        model=$(basename "$device")
        device_bytes=$(stat --format=%s -- "$device")
    else
        refuse "$device is neither a disk nor a file"
    fi
    local least=$((image_bytes > disk_bytes_min ? image_bytes : disk_bytes_min))
    [ "$device_bytes" -ge "$least" ] ||
        refuse "$device is too small: it has $(size "$device_bytes"), and $(size "$least") are needed"
}

check_disk() {
    local uses name
    name=$(basename "$device")
    uses=$(lsblk --raw --noheadings --paths --output NAME,TYPE,MOUNTPOINTS -- "$device" | "$here/disk-uses.sh")
    [ -z "$uses" ] || refuse "$device is in use:"$'\n'"$uses"
    # Of a file system over several disks, lsblk shows one.
    ! compgen -G "/sys/fs/btrfs/*/devices/$name*" >/dev/null || refuse "$device belongs to a mounted btrfs: unmount it"
    [ -w "$device" ] || refuse "$device must be written by root: use sudo"
    [ "$(blockdev --getro "$device")" = 0 ] || refuse "$device is read-only: is there a lock on the card?"
    [ "$(blockdev --getss "$device")" = 512 ] ||
        refuse "$device has sectors of $(blockdev --getss "$device") bytes, and the image is made for 512: use another disk"
    model=$(lsblk --nodeps --noheadings --output MODEL -- "$device" | xargs)
    [ "$model" ] || model=$name
    device_bytes=$(blockdev --getsize64 "$device")
}

size() { numfmt --to=si --suffix=B --format=%.1f -- "$1"; }

# Held to the end: nobody else flashes it, and udev does not look at it (systemd.io/BLOCK_DEVICE_LOCKING),
# so that no desktop mounts what is half written.
lock() {
    exec {lock}<>"$device"
    flock --exclusive --nonblock "$lock" || refuse "$device is locked by another program, perhaps by another flash.sh"
}

confirm() {
    echo
    echo "This ERASES $device:"
    if [ -b "$device" ]; then
        lsblk --nodeps --output NAME,MODEL,SERIAL,TRAN,SIZE -- "$device"
        lsblk --output NAME,SIZE,FSTYPE,LABEL,PARTLABEL -- "$device"
    else
        echo "file $model, $(size "$device_bytes")"
        sfdisk --list --quiet --color=never -- "$device" 2>/dev/null || true
    fi
    echo
    local answer=$model_given
    if [ -z "$answer" ]; then
        [ -t 0 ] || refuse "nobody is here to confirm: give --yes-erase '$model'"
        read -r -p "To erase it, type its model, $model: " answer
    fi
    [ "$answer" = "$model" ] || refuse "the model is '$model', not '$answer': nothing was written"
}

# dd's own progress, with what share of the whole it is. On no terminal, a line for each tenth.
progress() {
    local what=$1 chunk line bytes percent tenth=0
    while IFS= read -r -d $'\r' chunk || [ "$chunk" ]; do
        while IFS= read -r line; do
            [[ $line != dd:* ]] || echo "$line" >&2
            bytes=${line%% *}
            [[ $bytes =~ ^[0-9]+$ && $line == *bytes* ]] || continue
            percent=$((bytes * 100 / image_bytes))
            if [ -t 1 ]; then
                printf '\r%s: %3d %%, %s   ' "$what" "$percent" "${line##*, }"
            elif [ $((percent / 10)) -gt $tenth ]; then
                tenth=$((percent / 10))
                echo "$what: $percent %, ${line##*, }"
            fi
        done <<<"$chunk"
    done
    if [ -t 1 ]; then echo; fi
}

write_image() {
    # Past the cache where that works (not on every file system): so the progress is true, and so is what is read back.
    direct=''
    ! dd if="$device" of=/dev/null bs=$chunk count=1 iflag=direct status=none 2>/dev/null || direct=direct
    local how=fsync,notrunc
    if [ -f "$device" ]; then
        # An empty file has zeros already.
        truncate --size=0 -- "$device"
        truncate --size="$device_bytes" -- "$device"
        how+=,sparse
    else
        # A copy of the old partition table is there.
        dd if=/dev/zero of="$device" bs=1M seek=$((device_bytes / 1048576 - 1)) count=1 conv=notrunc status=none
    fi
    { zstd -dcq -- "$image" | dd of="$device" bs=$chunk iflag=fullblock ${direct:+oflag=direct} \
        conv=$how status=progress 2>&3; } 3>&1 | progress writing
}

read_back() {
    drop_cache
    local found
    { dd if="$device" bs=$chunk iflag=count_bytes,fullblock${direct:+,direct} count="$image_bytes" \
        status=progress 2>&3 | sha256sum >"$work/found"; } 3>&1 | progress reading
    read -r found _ <"$work/found"
    [ "$found" = "$image_sha256" ] ||
        refuse "what was read back from $device differs from what was written: the disk is failing, use another one"
}

drop_cache() {
    if [ -b "$device" ]; then
        blockdev --flushbufs "$device"
    else
        dd of="$device" oflag=nocache conv=notrunc,fdatasync count=0 status=none
    fi
}

# Each disk is told from others by the identifiers of its table and of the boot loader's partition; those of
# an image are the same on all.
name_disk() {
    local random=/proc/sys/kernel/random/uuid id
    id=$(<$random)
    { sfdisk --quiet --no-tell-kernel --disk-id "$device" "$(<$random)" &&
        sfdisk --quiet --no-tell-kernel --part-uuid "$device" "$fat_number" "$id"; } >"$work/said" 2>&1 ||
        refuse "cannot write identifiers to the partition table: $(said)"
    drop_cache
    { sfdisk --verify "$device" >"$work/said" 2>&1 &&
        [ "$(sfdisk --part-uuid "$device" "$fat_number" 2>"$work/said" | tr A-F a-f)" = "$id" ]; } ||
        refuse "the partition table was not written as it should be: the disk is failing, use another one"
}

# Without mounting: a file system within the disk, at its partition's offset.
write_set_up() {
    fat=$device@@$fat_offset
    on_fat mdir -i "$fat" -b ::/nabi || on_fat mmd -i "$fat" ::/nabi || refuse "cannot make the folder nabi: $(said)"
    put "$site" site.toml
    put "$key" admin.pub
}

# mtools complain of disks that are no floppies: only to be heard when they fail.
on_fat() { "$@" >"$work/fat" 2>"$work/said"; }
said() { tail -n 1 "$work/said"; }

put() {
    local file=$1 name=$2
    [ "$file" ] || return 0
    on_fat mcopy -o -i "$fat" "$file" "::/nabi/$name" || refuse "cannot write nabi/$name: $(said)"
    drop_cache
    { on_fat mcopy -i "$fat" "::/nabi/$name" - && cmp --silent "$work/fat" "$file"; } ||
        refuse "nabi/$name was not written as it should be: the disk is failing, use another one"
    echo "nabi/$name: written"
}

need_programs
check_inputs
check_device
lock
confirm
phase=writing
write_image
read_back
echo "image: $(size "$image_bytes") written, read back and the same"
name_disk
write_set_up
phase=finished
exec {lock}>&-
cat <<END

$model is ready. Put it into the machine and switch it on, with the network cable in. The first boot takes some
minutes; the screen then shows the address, and the fingerprints by which you know the machine.
END
