#!/bin/sh
# In front of the image's own start, for a broker that asks who is there: puts the first two users into new storage.
# Their passwords come from files and go by a file, so they are in no argument list, environment or image layer.
set -eu
umask 077

secrets=${SECRETS:-/run/secrets}
home=${KAFKA_HOME:-/opt/kafka}
folder=$(mktemp -d)

{
  echo "node.id=$KAFKA_NODE_ID"
  echo "process.roles=$KAFKA_PROCESS_ROLES"
  echo "controller.quorum.voters=$KAFKA_CONTROLLER_QUORUM_VOTERS"
  echo "controller.listener.names=$KAFKA_CONTROLLER_LISTENER_NAMES"
  echo "listeners=$KAFKA_LISTENERS"
  echo "advertised.listeners=$KAFKA_ADVERTISED_LISTENERS"
  echo "listener.security.protocol.map=$KAFKA_LISTENER_SECURITY_PROTOCOL_MAP"
  echo "inter.broker.listener.name=$KAFKA_INTER_BROKER_LISTENER_NAME"
  echo "log.dirs=$KAFKA_LOG_DIRS"
} > "$folder/storage.properties"

{
  echo format
  echo "--cluster-id=$CLUSTER_ID"
  echo "--config=$folder/storage.properties"
  echo --ignore-formatted
  for user in admin broker; do
    echo "--add-scram=SCRAM-SHA-512=[name=$user,password=$(cat "$secrets/kafka_$user")]"
  done
} > "$folder/format.arguments"

"$home/bin/kafka-storage.sh" "@$folder/format.arguments"
rm -r "$folder"

[ $# -gt 0 ] || set -- /etc/kafka/docker/run
exec "$@"
