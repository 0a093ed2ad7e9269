"""Contacts and points as Django REST framework makes them: a peer to compare with.

It knows neither tokens nor roles, checks nothing but types, and keeps no log of its calls.
"""

import hashlib
import json
import os
import uuid
from datetime import UTC, datetime
from urllib.parse import urlsplit

import django
from django.conf import settings


def database(url: str) -> dict[str, object]:
    parts = urlsplit(url)
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": parts.path.lstrip("/"),
        "USER": parts.username,
        "HOST": parts.hostname,
        "PORT": parts.port,
        "CONN_MAX_AGE": None,
    }


settings.configure(
    ALLOWED_HOSTS=["*"],
    DATABASES={
        "default": database(os.environ["CONTACTS_URL"]),
        "loyalty": database(os.environ["LOYALTY_URL"]),
    },
    INSTALLED_APPS=["rest_framework"],
    REST_FRAMEWORK={
        "DEFAULT_AUTHENTICATION_CLASSES": [],
        "DEFAULT_PERMISSION_CLASSES": [],
        "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
        "UNAUTHENTICATED_USER": None,
    },
    # Tells how long an answer is, without which no connection is kept.
    MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
    ROOT_URLCONF=__name__,
    SECRET_KEY="bench",  # noqa: S106
    TIME_ZONE="UTC",
    USE_TZ=True,
)
django.setup()

from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.db import models, transaction  # noqa: E402
from django.shortcuts import get_object_or_404  # noqa: E402
from django.urls import path  # noqa: E402
from rest_framework import generics, serializers  # noqa: E402
from rest_framework.response import Response  # noqa: E402
from rest_framework.views import APIView  # noqa: E402

METHOD = "/awards"


class Contact(models.Model):
    contact_id = models.TextField(primary_key=True)
    uid = models.TextField()
    version = models.IntegerField()
    create_time = models.DateTimeField()
    update_time = models.DateTimeField()
    delete_time = models.DateTimeField(null=True)
    labels = models.JSONField()
    kind = models.IntegerField()
    display_name = models.TextField()
    given_name = models.TextField()
    family_name = models.TextField()
    emails = models.JSONField()
    phones = models.JSONField()
    social_handles = models.JSONField()
    occupation = models.TextField()
    birth_date = models.DateField(null=True)
    locale = models.TextField()
    acquisition_source = models.TextField()
    lifecycle_stage = models.IntegerField()
    owner = models.TextField()
    custom_fields = models.JSONField(null=True)
    external_ids = models.JSONField()

    class Meta:
        app_label, db_table, managed = "peer", "contacts", False


class Member(models.Model):
    pk = models.CompositePrimaryKey("program_id", "member_id")
    program_id = models.TextField()
    member_id = models.TextField()
    points_balance = models.BigIntegerField()
    points_issued = models.BigIntegerField()

    class Meta:
        app_label, db_table, managed = "peer", "members", False


class LedgerTransaction(models.Model):
    pk = models.CompositePrimaryKey("program_id", "member_id", "ledger_transaction_id")
    program_id = models.TextField()
    member_id = models.TextField()
    ledger_transaction_id = models.TextField()
    uid = models.TextField()
    create_time = models.DateTimeField()
    kind = models.IntegerField()
    points = models.BigIntegerField()
    reason = models.TextField()
    principal = models.TextField()
    points_balance = models.BigIntegerField()

    class Meta:
        app_label, db_table, managed = "peer", "ledger_transactions", False


class LedgerEntry(models.Model):
    pk = models.CompositePrimaryKey("program_id", "member_id", "ledger_transaction_id", "ordinal")
    program_id = models.TextField()
    member_id = models.TextField()
    ledger_transaction_id = models.TextField()
    ordinal = models.IntegerField()
    account = models.IntegerField()
    lot_id = models.TextField(null=True)
    points = models.BigIntegerField()

    class Meta:
        app_label, db_table, managed = "peer", "ledger_entries", False


class Lot(models.Model):
    pk = models.CompositePrimaryKey("program_id", "member_id", "lot_id")
    program_id = models.TextField()
    member_id = models.TextField()
    lot_id = models.TextField()
    uid = models.TextField()
    create_time = models.DateTimeField()
    points_issued = models.BigIntegerField()
    points_remaining = models.BigIntegerField()
    ledger_transaction_id = models.TextField()

    class Meta:
        app_label, db_table, managed = "peer", "lots", False


class Audit(models.Model):
    id = models.BigAutoField(primary_key=True)
    create_time = models.DateTimeField()
    principal = models.TextField()
    method = models.TextField()
    request_id = models.TextField()
    action = models.TextField()
    resource = models.TextField()
    changed_paths = models.JSONField()

    class Meta:
        app_label, db_table, managed = "peer", "audit", False


class Outbox(models.Model):
    id = models.BigAutoField(primary_key=True)
    aggregatetype = models.TextField()
    aggregateid = models.TextField()
    type = models.TextField()
    payload = models.BinaryField()
    create_time = models.DateTimeField()

    class Meta:
        app_label, db_table, managed = "peer", "outbox", False


class Idempotency(models.Model):
    pk = models.CompositePrimaryKey("principal", "method", "request_id")
    principal = models.TextField()
    method = models.TextField()
    request_id = models.TextField()
    request_hash = models.BinaryField()
    response = models.BinaryField()
    create_time = models.DateTimeField()

    class Meta:
        app_label, db_table, managed = "peer", "idempotency", False


class ContactSerializer(serializers.ModelSerializer):
    class Meta:
        model = Contact
        fields = "__all__"


class AwardSerializer(serializers.Serializer):
    member_id = serializers.CharField()
    points = serializers.IntegerField(min_value=1)
    reason = serializers.CharField()
    request_id = serializers.UUIDField()


class ContactView(generics.RetrieveAPIView):
    queryset = Contact.objects.filter(delete_time=None)
    serializer_class = ContactSerializer


class AwardView(APIView):
    @transaction.atomic(using="loyalty")
    def post(self, request):
        award = AwardSerializer(data=request.data)
        award.is_valid(raise_exception=True)
        asked, now = award.validated_data, datetime.now(UTC)
        points, request_id = asked["points"], str(asked["request_id"])
        key = {"program_id": "club", "member_id": asked["member_id"]}
        members = Member.objects.using("loyalty").select_for_update()
        member = get_object_or_404(members, **key)
        stored = Idempotency.objects.using("loyalty").filter(
            principal="peer", method=METHOD, request_id=request_id
        )
        if repeated := stored.first():
            return Response(json.loads(bytes(repeated.response)))
        posting = LedgerTransaction(
            **key,
            ledger_transaction_id=uuid.uuid4().hex,
            uid=str(uuid.uuid4()),
            create_time=now,
            kind=1,
            points=points,
            reason=asked["reason"],
            principal="peer",
            points_balance=member.points_balance + points,
        )
        posting.save(using="loyalty", force_insert=True)
        lot_id = uuid.uuid4().hex
        key["ledger_transaction_id"] = posting.ledger_transaction_id
        LedgerEntry.objects.using("loyalty").bulk_create(
            LedgerEntry(**key, ordinal=n, account=account, lot_id=lot, points=by)
            for n, (account, lot, by) in enumerate(((1, lot_id, points), (2, None, -points)))
        )
        Lot(
            **key,
            lot_id=lot_id,
            uid=str(uuid.uuid4()),
            create_time=now,
            points_issued=points,
            points_remaining=points,
        ).save(using="loyalty", force_insert=True)
        member.points_balance, member.points_issued = (
            member.points_balance + points,
            member.points_issued + points,
        )
        member.save(using="loyalty", update_fields=["points_balance", "points_issued"])
        name = f"programs/club/members/{member.member_id}"
        answer = {
            "ledger_transaction_id": posting.ledger_transaction_id,
            "points": points,
            "points_balance": member.points_balance,
        }
        told = json.dumps(answer).encode()
        Audit(
            create_time=now,
            principal="peer",
            method=METHOD,
            request_id=request_id,
            action="points.awarded",
            resource=name,
            changed_paths=[],
        ).save(using="loyalty")
        Outbox(
            aggregatetype="points",
            aggregateid=name,
            type="points.awarded",
            payload=told,
            create_time=now,
        ).save(using="loyalty")
        Idempotency(
            principal="peer",
            method=METHOD,
            request_id=request_id,
            request_hash=hashlib.sha256(json.dumps(request.data).encode()).digest(),
            response=told,
            create_time=now,
        ).save(using="loyalty", force_insert=True)
        return Response(answer)


urlpatterns = [
    path("contacts/<str:pk>", ContactView.as_view()),
    path("awards", AwardView.as_view()),
]
application = get_wsgi_application()
