# Run by `cargo xtask test` in namespaces of its own (network and mounts), with the root folder of a
# fresh Debian: shows that the installed dropwatch runs and sees a drop there.
set -eu
root=$1
mount --rbind /proc "$root/proc"
mount --rbind /sys "$root/sys"
ip link set lo up
exec chroot "$root" /bin/bash -c '
set -eu
cd /tmp
dropwatch --version
dropwatch doctor > doctor.txt || { cat doctor.txt; exit 1; }
dropwatch -c 1 --port 9 --reason NO_SOCKET --no-stack --duration 120s --ready-file ready > drops &
tracer=$!
until test -e ready; do kill -0 $tracer; sleep 0.1; done
echo lost > /dev/udp/127.0.0.1/9
wait $tracer
cat drops
grep -q " NO_SOCKET udp 127.0.0.1:[0-9]* > 127.0.0.1:9 .* comm=bash " drops
rm doctor.txt drops ready
'
