#!/bin/busybox sh
# shellcheck shell=dash
# First process of the machine that run.py starts: makes groups as runtimes do, has outrigger look at them, and prints what it
# says and what the kernel says, before and after, to the console.
/bin/busybox --install -s /bin
export PATH=/bin
mkdir -p /proc /sys /dev /tmp /run
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs tmp /tmp
mount -t cgroup2 cgroup /sys/fs/cgroup
insmod /modules/brd.ko rd_nr=1 rd_size=32768
ifconfig lo 127.0.0.1 up

groups=/sys/fs/cgroup
id() { printf "%064d" "$1"; }
# group PATH: makes it, with the controllers handed down to it.
group() {
    at=$groups
    for part in $(echo "$1" | tr / ' '); do
        echo '+cpu +cpuset +io +memory +pids' >"$at/cgroup.subtree_control"
        at=$at/$part
        mkdir -p "$at"
    done
}
# within PATH COMMAND...: runs it there, in the background.
within() {
    at=$groups/$1
    shift
    sh -c 'echo $$ >"$0/cgroup.procs"; exec "$@"' "$at" "$@" >/dev/null 2>&1 &
}

busy=system.slice/docker-$(id 1).scope
killed=docker/$(id 2)
idle=kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod00000000_1111_2222_3333_444444444444.slice/cri-containerd-$(id 3).scope
writes=docker/$(id 4)
deep=machine.slice/libpod-$(id 5).scope
slowed=docker/$(id 6)
group "$busy" && echo '20000 100000' >"$groups/$busy/cpu.max" && echo 5000 >"$groups/$busy/cpu.max.burst"
group "$killed" && echo 16M >"$groups/$killed/memory.max"
group "$idle" && echo 200 >"$groups/$idle/cpu.weight" && echo 50 >"$groups/$idle/pids.max" && echo 8M >"$groups/$idle/memory.low"
group "$writes"
group "$deep/container"
group "$slowed" && echo 4M >"$groups/$slowed/memory.high"
group system.slice/ssh.service
within "$busy" sh -c 'while :; do :; done'
within "$killed" sh -c 'while :; do tail /dev/zero; sleep 1; done'
within "$idle" sh -c 'dd if=/dev/zero of=/tmp/kept bs=1M count=3; exec sleep 100000'
within "$writes" sh -c 'while :; do dd if=/dev/zero of=/dev/ram0 bs=64k count=16 conv=fsync; sleep 1; done'
within "$deep/container" sleep 100000
within "$slowed" tail /dev/zero
within system.slice/ssh.service sleep 100000

outrigger --web.listen-address=127.0.0.1:9780 --collector.disable-defaults --collector.container --collector.min-interval=0s \
    --log.level=error &
scrape() { wget -q -O "$1" http://127.0.0.1:9780/metrics; }
# files: what the kernel says of each group.
files() {
    for path in "$busy" "$killed" "$idle" "$writes" "$deep" "$slowed"; do
        for file in "$groups/$path"/*; do
            [ -r "$file" ] || continue
            echo "@file /$path ${file##*/}"
            # Some have nothing to say of a group like this one.
            cat "$file" 2>/dev/null
        done
    done
}
until scrape /tmp/first 2>/dev/null; do sleep 0.2; done
# Long enough for kills, throttling, writes, and for a group to count as quiet.
for _ in 1 2 3 4 5; do
    sleep 3
    scrape /tmp/first
done
files >/tmp/before
scrape /tmp/scraped
files >/tmp/after
echo "@kernel $(uname -r)"
for part in before scraped after; do
    echo "@part $part"
    cat "/tmp/$part"
done
echo "@end"
poweroff -f
