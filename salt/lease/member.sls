# A member of etcd that grants the leases of pairs. `orch.lease` applies this, with the members in the pillar, when
# the host has its certificate.
{%- from 'pair/map.jinja' import node with context %}
{%- set members = pillar.get('lease_members') or {} %}
{%- set folder = '/etc/etcd' %}
{%- if not node.lease_packages %}
  {{- raise('The distribution of ' ~ opts.id ~ ' has no package of etcd: without one the pair would have no member '
      ~ 'there that grants its lease. Name the package of a repository of yours in the pillar, failback:lookup: '
      ~ 'lease_packages, or give the pair members on other hosts, or endpoints of an etcd of your own. Nothing was '
      ~ 'changed.') }}
{%- endif %}

# It stands before the package, which starts the daemon as soon as it is installed: not before it is set up.
etcd starts with the settings of a member:
  file.managed:
    - name: /etc/systemd/system/etcd.service.d/failback.conf
    - source: salt://lease/files/etcd-drop-in.conf
    - mode: '0644'
    - makedirs: true

Systemd knows the unit of etcd:
  module.run:
    - service.systemctl_reload: []
    - onchanges:
      - file: etcd starts with the settings of a member

The package of etcd is installed:
  pkg.installed:
    - pkgs: {{ node.lease_packages | tojson }}
    - require:
      - module: Systemd knows the unit of etcd

etcd may read the folder of its key:
  file.directory:
    - name: {{ folder }}
    - user: root
    - group: etcd
    - mode: '0750'
    - require:
      - pkg: The package of etcd is installed

etcd may read its key:
  file.managed:
    - name: {{ folder }}/member.key
    - replace: false
    - create: false
    - user: root
    - group: etcd
    - mode: '0640'
    - require:
      - file: etcd may read the folder of its key

The settings of the member are current:
  file.managed:
    - name: {{ folder }}/failback.conf
    - source: salt://lease/files/etcd.conf
    - template: jinja
    - context:
        members: {{ members | tojson }}
    - mode: '0644'
    - require:
      - file: etcd may read its key

# Apart from the next one: a state that has changed something itself does not follow what it watches.
etcd starts at boot:
  service.enabled:
    - name: etcd
    - require:
      - file: The settings of the member are current

# It has started when a majority of the members has: they get this at the same time.
etcd runs:
  service.running:
    - name: etcd
    - require:
      - service: etcd starts at boot
    - watch:
      - file: etcd starts with the settings of a member
      - file: The settings of the member are current

{%- if node.firewalld_zone %}

firewalld lets the nodes and the other members in:
  firewalld.present:
    - name: {{ node.firewalld_zone }}
    - ports:
      - 2379/tcp
      - 2380/tcp
{%- endif %}
