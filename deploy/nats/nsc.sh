#!/usr/bin/env bash
# Creates the accounts and users of accounts.conf with `nsc`, for servers with an operator and JWTs.
#
#     deploy/nats/nsc.sh
#     nsc generate config --mem-resolver --sys-account SYS --config-file resolver.conf
#     nsc generate creds --account WORKERS --name worker > worker.creds
#
# The server configuration is roles.conf with resolver.conf in the place of accounts.conf. Adapt the same names; the
# comments of accounts.conf apply here too. Only the holder of the operator key can add an import to an account.
set -euo pipefail

account() { nsc add account --name "$1"; }

export_service() { nsc add export --account "$1" --name "$2" --subject "$2" --service; }
export_answers() { nsc add export --account "$1" --name "$2" --subject "$2" --service --response-type Stream; }
export_stream() { nsc add export --account "$1" --name "stream $2" --subject "$2"; }

id_of() { nsc describe account --name "$1" --field sub | tr -d '"'; }
import_service() {
  nsc add import --account "$1" --src-account "$(id_of "$2")" --name "$3" --remote-subject "$3" --local-subject "$3" --service
}
import_stream() {
  nsc add import --account "$1" --src-account "$(id_of "$2")" --name "stream $3" --remote-subject "$3" --local-subject "$3"
}

# user ACCOUNT NAME "SUBSCRIBE SUBJECTS" "PUBLISH SUBJECT"…
user() {
  local account=$1 name=$2 subscribe=$3
  shift 3
  nsc add user --account "$account" --name "$name" --allow-sub "$subscribe" --allow-pub "$(IFS=,; echo "$*")"
}

nsc add operator --name inferbus --sys

for name in INFERBUS WORKERS CATALOG DEVICES REQUESTERS READERS; do account "$name"; done
nsc edit account --name INFERBUS --js-mem-storage -1 --js-disk-storage -1 --js-streams -1 --js-consumer -1

export_answers INFERBUS '$JS.API.>'
export_service INFERBUS '$JS.ACK.>'
export_service INFERBUS '$JS.FC.>'
export_stream INFERBUS '_INBOX_worker.>'
export_stream INFERBUS '_INBOX_catalog.>'
export_service INFERBUS '$KV.models.>'
export_service INFERBUS '$O.artifacts.>'
export_service INFERBUS 'sensors.>'
export_service INFERBUS 'inference.>'
export_service INFERBUS 'inferbus.dlq.>'
export_service WORKERS 'infer.>'
export_service WORKERS 'ask.*'
export_stream WORKERS 'inference.>'
export_answers WORKERS '$SRV.>'

import_service INFERBUS WORKERS '$SRV.>'
import_service INFERBUS WORKERS 'infer.>'
for subject in '$JS.API.>' '$JS.ACK.>' '$JS.FC.>' 'inference.>' 'inferbus.dlq.>'; do import_service WORKERS INFERBUS "$subject"; done
import_stream WORKERS INFERBUS '_INBOX_worker.>'
for subject in '$JS.API.>' '$JS.FC.>' '$KV.models.>' '$O.artifacts.>'; do import_service CATALOG INFERBUS "$subject"; done
import_stream CATALOG INFERBUS '_INBOX_catalog.>'
import_service DEVICES INFERBUS 'sensors.>'
import_service REQUESTERS WORKERS 'infer.>'
import_service REQUESTERS WORKERS 'ask.*'
import_stream READERS WORKERS 'inference.>'
import_service READERS INFERBUS '$JS.API.>'
import_service READERS INFERBUS '$JS.ACK.>'

user SYS system '_INBOX_system.>' '$SYS.REQ.SERVER.PING.*' '$SYS.REQ.SERVER.*.*'
user INFERBUS operator '_INBOX_operator.>,$JS.EVENT.ADVISORY.>,inference.>,inferbus.dlq.>' \
  '$JS.API.>' '$JS.ACK.>' '$JS.FC.>' '$KV.routes.*' '$SRV.>' 'infer.>' 'sensors.>' 'inference.>' '$SYS.REQ.USER.INFO'
user WORKERS worker '_INBOX_worker.>,$SRV.>,infer.> inferbus,ask.* inferbus.*' \
  '$JS.API.STREAM.INFO.KV_models' '$JS.API.STREAM.INFO.KV_routes' '$JS.API.STREAM.INFO.OBJ_artifacts' \
  '$JS.API.STREAM.MSG.GET.KV_models' '$JS.API.STREAM.MSG.GET.KV_routes' '$JS.API.STREAM.MSG.GET.OBJ_artifacts' \
  '$JS.API.CONSUMER.CREATE.KV_models' '$JS.API.CONSUMER.CREATE.KV_models.>' '$JS.API.CONSUMER.DELETE.KV_models.*' \
  '$JS.API.CONSUMER.MSG.NEXT.KV_models.*' '$JS.API.CONSUMER.MSG.NEXT.KV_routes.*' \
  '$JS.API.CONSUMER.CREATE.KV_routes' '$JS.API.CONSUMER.CREATE.KV_routes.>' '$JS.API.CONSUMER.DELETE.KV_routes.*' \
  '$JS.FC.KV_models.>' '$JS.FC.KV_routes.>' \
  '$JS.API.STREAM.INFO.SENSORS' '$JS.API.STREAM.MSG.GET.SENSORS' \
  '$JS.API.CONSUMER.INFO.SENSORS.inferbus-cameras' '$JS.API.CONSUMER.MSG.NEXT.SENSORS.inferbus-cameras' \
  '$JS.ACK.SENSORS.inferbus-cameras.>' \
  'inference.>' '$JS.API.STREAM.INFO.INFERBUS_RESULTS_cameras' '$JS.API.STREAM.MSG.GET.INFERBUS_RESULTS_cameras' \
  '$JS.API.CONSUMER.CREATE.INFERBUS_RESULTS_cameras' '$JS.API.CONSUMER.CREATE.INFERBUS_RESULTS_cameras.>' \
  '$JS.API.CONSUMER.INFO.INFERBUS_RESULTS_cameras.*' '$JS.API.CONSUMER.MSG.NEXT.INFERBUS_RESULTS_cameras.*' \
  'inferbus.dlq.cameras.*' '$JS.API.STREAM.INFO.INFERBUS_DLQ' '$JS.API.STREAM.MSG.GET.INFERBUS_DLQ' \
  '_R_.>' '_INBOX_worker.>' '$SYS.REQ.USER.INFO'
user CATALOG catalog '_INBOX_catalog.>' \
  '$KV.models.>' '$O.artifacts.>' '$JS.API.STREAM.PURGE.OBJ_artifacts' \
  '$JS.API.STREAM.INFO.KV_models' '$JS.API.STREAM.INFO.KV_routes' '$JS.API.STREAM.INFO.OBJ_artifacts' \
  '$JS.API.STREAM.MSG.GET.KV_models' '$JS.API.STREAM.MSG.GET.KV_routes' '$JS.API.STREAM.MSG.GET.OBJ_artifacts' \
  '$JS.API.CONSUMER.CREATE.KV_models' '$JS.API.CONSUMER.CREATE.KV_routes' '$JS.FC.KV_models.>' '$JS.FC.KV_routes.>' \
  '$JS.API.CONSUMER.MSG.NEXT.KV_models.*' '$JS.API.CONSUMER.MSG.NEXT.KV_routes.*'
user DEVICES publisher '_INBOX_publisher.>' 'sensors.>'
user REQUESTERS requester '_INBOX_requester.>' 'infer.>' 'ask.*'
user READERS reader '_INBOX_reader.>,inference.>' \
  '$JS.API.CONSUMER.INFO.INFERBUS_RESULTS_cameras.reader' '$JS.API.CONSUMER.MSG.NEXT.INFERBUS_RESULTS_cameras.reader' \
  '$JS.ACK.INFERBUS_RESULTS_cameras.reader.>'
