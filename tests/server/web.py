"""nginx with the kit's file in a place, and a browser in front of it."""

import shutil
import urllib.parse
from pathlib import Path

import browser
from place import KIT, sh, wait_for

PASSWORD = "correct horse"


def certificate():
    sh("openssl req -x509 -newkey rsa:2048 -nodes -keyout /etc/ssl/fleet.key -out /etc/ssl/fleet.crt -days 2 "
       "-subj /CN=fleet.example -addext 'subjectAltName=DNS:fleet.example,DNS:*.fleet.example' 2>&1; chmod 644 /etc/ssl/fleet.key")


def browse(path, *flags, user=f"tina:{urllib.parse.quote(PASSWORD)}@"):
    """What Chromium makes of a path of SN-0042; it takes this one certificate's key."""
    key = sh("openssl x509 -in /etc/ssl/fleet.crt -noout -pubkey | openssl pkey -pubin -outform der |"
             "openssl dgst -sha256 -binary | base64").strip()
    return browser.show(f"https://{user}SN-0042.fleet.example{path}", f"--ignore-certificate-errors-spki-list={key}", *flags)


class Nginx:
    def __init__(self):
        Path("/var/log/nginx").mkdir(exist_ok=True)
        shutil.copy(KIT / "nginx.conf", "/etc/nginx/conf.d/reachback.conf")
        sh(f"printf 'tina:%s\\n' \"$(openssl passwd -apr1 '{PASSWORD}')\" >/etc/nginx/reachback.htpasswd;"
           "nginx -t && nginx")

    def close_door(self):
        Path("/etc/nginx/reachback.htpasswd").unlink()

    @staticmethod
    def stop():
        sh("nginx -s stop")
        wait_for("nginx ends", lambda: not Path("/run/nginx.pid").exists())
