#!/bin/sh
# The first process in the guest: mounts what a host has mounted, runs /job,
# and switches off. The lines "dropwatch-vm ..." are read by xtask (qemu.rs).
export PATH=/sbin:/usr/sbin:/bin:/usr/bin HOME=/root

mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /tmp
mount -t tmpfs tmpfs /run
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t bpf bpf /sys/fs/bpf
mount -t debugfs debugfs /sys/kernel/debug
mount -t tracefs tracefs /sys/kernel/tracing
ip link set lo up

# Kernel messages would cut the lines of the tests; a panic still gets through.
echo 1 > /proc/sys/kernel/printk
console=/dev/$(cat /sys/class/tty/console/active)
# Not every machine has one: it is what --out saves.
stty -F /dev/ttyS1 raw 2> /dev/null

echo "dropwatch-vm ready $(uname -r)"
sh /job < /dev/null 2>&1
status=$?
# A change of settings waits until all that was written is out.
stty -F /dev/ttyS1 raw 2> /dev/null
echo "dropwatch-vm done $status"
stty -F "$console" sane
poweroff -f
