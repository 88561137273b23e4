#!/bin/sh
# Makes state/: folders, passwords, and the configurations of Valkey and its Sentinels. What is there already stays.
set -eu
umask 077
cd "$(dirname "$0")"
net=172.30.77

for folder in secrets bundles exchange hub-2; do mkdir -p "state/$folder"; done

password() {
  [ -s "state/secrets/$1" ] || head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n' > "state/secrets/$1"
  cat "state/secrets/$1"
}
hub=$(password store-password)
replica=$(password replica-password)
sentinel=$(password sentinel-password)

for n in 1 2 3; do
  [ -e "state/valkey-$n/valkey.conf" ] && continue
  mkdir -p "state/valkey-$n"
  cat > "state/valkey-$n/users.acl" <<END
user default off
user hub on >$hub resetchannels ~sx:* &sx:* -@all +evalsha +script|load +wait +info +config|get +hget +hmget +hset +hdel +hincrby +hvals +hlen +exists +unlink +publish +subscribe +bgrewriteaof +cluster|nodes
user replica on >$replica -@all +psync +replconf +ping
user sentinel on >$sentinel allchannels -@all +multi +exec +slaveof +ping +role +info +subscribe +publish +config|rewrite +client|setname +client|kill +script|kill
END
  {
    cat valkey.conf
    echo "bind $net.1$n"
    echo "replica-announce-ip $net.1$n"
    echo "masteruser replica"
    echo "masterauth $replica"
    [ "$n" = 1 ] || echo "replicaof $net.11 6379"
  } > "state/valkey-$n/valkey.conf"
done

for n in 1 2 3; do
  [ -e "state/sentinel-$n/sentinel.conf" ] && continue
  mkdir -p "state/sentinel-$n"
  cat > "state/sentinel-$n/sentinel.conf" <<END
port 26379
bind $net.2$n
protected-mode no
dir /data
user default off
user hub on >$hub -@all +sentinel|master +sentinel|replicas
user peer on >$sentinel allchannels +@all
sentinel announce-ip $net.2$n
sentinel sentinel-user peer
sentinel sentinel-pass $sentinel
sentinel monitor exchange $net.11 6379 2
sentinel auth-user exchange sentinel
sentinel auth-pass exchange $sentinel
sentinel down-after-milliseconds exchange 5000
sentinel failover-timeout exchange 30000
END
done
echo "state/ is ready"
