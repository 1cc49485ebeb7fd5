#!/usr/bin/env bash
# Start Ceph's RADOS gateway, a real S3 server, from Debian's packages, everything in one directory and in memory.
#   apt-get install --no-install-recommends ceph-mon ceph-osd ceph-mgr radosgw ceph-common
#   bash radosgw_up.sh EMPTY_DIRECTORY PORT ACCESS_KEY SECRET_KEY      answers on http://127.0.0.1:PORT when it returns
# Stop it by killing the processes named in DIRECTORY/run/*.pid.
set -euo pipefail
dir=$(realpath -m "$1") port=$2 access=$3 secret=$4
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
mon_v1=$(free_port) mon_v2=$(free_port)
mkdir -p "$dir"/mon/a "$dir"/osd/0 "$dir"/mgr/x "$dir"/run
cd "$dir"
fsid=$(cat /proc/sys/kernel/random/uuid)
cat > ceph.conf <<CONF
[global]
fsid = $fsid
mon host = [v2:127.0.0.1:$mon_v2,v1:127.0.0.1:$mon_v1]
keyring = $dir/all.keyring
osd pool default size = 1
osd pool default min size = 1
mon allow pool size one = true
mon warn on pool no redundancy = false
osd pool default pg num = 4
osd crush chooseleaf type = 0
run dir = $dir/run
admin socket = $dir/run/\$name.asok
log file = $dir/\$name.log
pid file = $dir/run/\$name.pid
public addr = 127.0.0.1
mon data = $dir/mon/a
mon data avail crit = 0
mgr data = $dir/mgr/x
osd data = $dir/osd/0
osd objectstore = memstore
memstore device bytes = 2147483648
auth allow insecure global id reclaim = true
CONF
key() { ceph-authtool all.keyring --gen-key -n "$@" > /dev/null; }
ceph-authtool --create-keyring all.keyring --gen-key -n mon. --cap mon 'allow *' > /dev/null
key client.admin --cap mon 'allow *' --cap osd 'allow *' --cap mgr 'allow *'
key osd.0 --cap mon 'allow profile osd' --cap osd 'allow *' --cap mgr 'allow profile osd'
key mgr.x --cap mon 'allow profile mgr' --cap osd 'allow *' --cap mds 'allow *'
key client.rgw --cap mon 'allow *' --cap osd 'allow *' --cap mgr 'allow *'
monmaptool --create --fsid "$fsid" --addv a "[v2:127.0.0.1:$mon_v2,v1:127.0.0.1:$mon_v1]" monmap > /dev/null
ceph-mon -c ceph.conf --mkfs -i a --monmap monmap --keyring all.keyring
ceph-mon -c ceph.conf -i a
ceph -c ceph.conf auth import -i all.keyring
ceph -c ceph.conf osd create > /dev/null
ceph-osd -c ceph.conf -i 0 --mkfs 2> /dev/null
ceph-osd -c ceph.conf -i 0
ceph-mgr -c ceph.conf -i x
ceph -c ceph.conf osd crush add osd.0 1.0 root=default host=h
nohup radosgw -c ceph.conf -n client.rgw -f --setuser root --setgroup root \
    --rgw_frontends="beast endpoint=127.0.0.1:$port" > rgw.out 2>&1 &
echo $! > run/radosgw.pid
for _ in $(seq 60); do
    [ "$(curl -s -o /dev/null -w '%{http_code}' "http://127.0.0.1:$port/" || true)" = 200 ] && break
    sleep 1
done
radosgw-admin -c ceph.conf user create --uid test --display-name test \
    --access-key "$access" --secret "$secret" > /dev/null
