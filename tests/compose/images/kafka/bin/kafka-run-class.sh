#!/bin/bash
# Runs a class of /opt/kafka/libs with the variables by which the official command of this name is told how.
set -euo pipefail
: "${KAFKA_HEAP_OPTS:=-Xmx256M}"
: "${KAFKA_JVM_PERFORMANCE_OPTS:=-server -XX:+UseG1GC -XX:MaxGCPauseMillis=20 -XX:InitiatingHeapOccupancyPercent=35 -Djava.awt.headless=true}"
: "${KAFKA_LOG4J_OPTS:=-Dlog4j2.configurationFile=/opt/kafka/config/tools-log4j2.yaml}"
# shellcheck disable=SC2086  # several options in one variable
exec java $KAFKA_HEAP_OPTS $KAFKA_JVM_PERFORMANCE_OPTS -Dkafka.logs.dir=/opt/kafka/logs $KAFKA_LOG4J_OPTS ${KAFKA_OPTS:-} \
    -cp '/opt/kafka/libs/*' "$@"
