#!/bin/sh
# A real corpus from Debian's own packages: handbooks and help in dozens of languages, manual pages, programming manuals,
# books, source code, and the change logs and licences that come with every package, as Dolma documents:
#
#   data/debian.sh [DIR]          writes DIR/documents/SOURCE/PACKAGE.jsonl.gz; DIR is data/corpora/debian if not given
#
# Nothing is installed: packages are downloaded into DIR/packages and unpacked beside it for a moment. What is there already
# is kept, so an interrupted run goes on. The same package versions give the same files, byte for byte. A document is
#
#   {"id": "PACKAGE/PATH", "text": "...", "source": "SOURCE", "created": the file's time,
#    "metadata": {"language": "de", "package": ..., "version": ..., "url": where Debian shows the package, and the path}}
#
# Needs Debian (bookworm; other releases lack some of the packages, and say so) and, all from its archive:
#   apt install mandoc libhtml-parser-perl libjson-xs-perl
set -eu

# SOURCE, packages, and after a colon which of their files are taken (a Perl pattern of the path), if not all.
packages='
books      anarchism fortunes fortunes-bg fortunes-br fortunes-cs fortunes-de fortunes-eo fortunes-es fortunes-it
books      fortunes-pl fortunes-ru fortunes-zh dict-devil dict-foldoc dict-jargon debian-history miscfiles
handbooks  debian-handbook debian-faq debian-policy developers-reference installation-guide-amd64
handbooks  debian-reference-en debian-reference-de debian-reference-es debian-reference-fr debian-reference-id debian-reference-it
handbooks  debian-reference-ja debian-reference-pt debian-reference-zh-cn debian-reference-zh-tw
handbooks  maint-guide maint-guide-ca maint-guide-de maint-guide-es maint-guide-fr maint-guide-it maint-guide-ja maint-guide-ru
handbooks  aptitude-doc-en aptitude-doc-cs aptitude-doc-es aptitude-doc-fi aptitude-doc-fr aptitude-doc-it aptitude-doc-ja aptitude-doc-ru
help       libreoffice-help-en-us libreoffice-help-de libreoffice-help-el libreoffice-help-es libreoffice-help-fr libreoffice-help-hi
help       libreoffice-help-ja libreoffice-help-km libreoffice-help-ko libreoffice-help-ru libreoffice-help-tr libreoffice-help-zh-cn
help       vim-doc
manual     manpages manpages-dev manpages-cs manpages-da manpages-de manpages-el manpages-es manpages-fi manpages-fr manpages-hu
manual     manpages-id manpages-it manpages-ja manpages-mk manpages-nb manpages-nl manpages-pl manpages-pt-br manpages-ro manpages-ru
manual     manpages-sr manpages-sv manpages-tr manpages-uk manpages-vi manpages-zh
reference  rust-doc:html/(book|reference|nomicon|rust-by-example|edition-guide|embedded-book|rustc|alloc|proc_macro)/
reference  linux-doc-6.1:Documentation/.*\.rst python3.11-doc:\.html$ perl-doc postgresql-doc-15 python-django-doc:\.html$ git-doc
reference  bind9-doc postfix-doc exim4-doc-html nodejs-doc glibc-doc r-doc-html swi-prolog-doc gnuplot-doc zsh-doc bash-doc autoconf-doc
code       libpython3.11-stdlib perl-modules-5.36 libruby3.1:\.rb$ libc6-dev libstdc++-12-dev emacs-el:\.el
'

fail() { echo "error: $*" >&2; exit 1; }
[ $# -le 1 ] && case ${1-} in -*) false ;; esac || fail "usage: data/debian.sh [DIR]"
to=${1:-$(dirname "$0")/corpora/debian}
for tool in apt-get dpkg-deb mandoc perl; do
    command -v $tool >/dev/null || fail "$tool is not installed; on Debian: apt install mandoc perl"
done
perl -MHTML::Parser -MJSON::XS -e 1 2>/dev/null || fail "Perl's HTML::Parser or JSON::XS is missing: apt install libhtml-parser-perl libjson-xs-perl"
mkdir -p "$to/packages" "$to/documents" || fail "$to: cannot be made"
to=$(cd "$to" && pwd)
work=$(mktemp -d "$to/.work.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM HUP

# One line for each package: SOURCE PACKAGE PATTERN
echo "$packages" | while read -r source names; do
    for name in $names; do
        case $name in *:*) pattern=${name#*:} ;; *) pattern=. ;; esac
        echo "$source ${name%%:*} $pattern"
    done
done > "$work/list"

have() { ls "$to/packages/$1"_*.deb >/dev/null 2>&1; }
while read -r source name pattern; do
    have "$name" || if apt-cache show "$name" >/dev/null 2>&1; then echo "$name"
                    else echo "warning: this release of Debian has no package $name; skipped" >&2
                    fi
done < "$work/list" > "$work/missing"
if [ -s "$work/missing" ]; then
    echo "downloading $(wc -l < "$work/missing") packages"
    mkdir "$work/new"
    (cd "$work/new" && apt-get download -qq $(cat "$work/missing") 2>"$work/log") ||
        fail "apt-get download: $(grep -v '^W' "$work/log" | head -n 1); try apt-get update first"
    mv "$work/new"/*.deb "$to/packages/"
fi

# The files of one package as documents, on standard output.
cat > "$work/extract" <<'END'
use strict; use warnings;
use Encode (); use File::Find; use HTML::Parser; use JSON::XS; use Pod::Text; use POSIX 'strftime';
my ($root, $source, $package, $version, $pattern) = @ARGV;
my $json = JSON::XS->new->canonical->utf8;
my @codes = qw(ar bg ca cs da de el en eo es fa fi fr hi hr hu id it ja km ko mk nb nl pl pt ro ru sr sv tr uk vi zh);
my $code = '(' . join('|', @codes) . ')';

# UTF-8 if it is; else what the HTML says; else Western European.
sub decoded {
    my ($bytes) = @_;
    my $text = eval { Encode::decode('UTF-8', my $copy = $bytes, Encode::FB_CROAK) };
    return $text if defined $text;
    my ($charset) = substr($bytes, 0, 2048) =~ /charset\s*=\s*["']?([\w-]+)/i;
    return Encode::decode(Encode::find_encoding($charset // '') ? $charset : 'cp1252', $bytes);
}

# What a page shows: a line for each block, spaces collapsed except in <pre>.
sub html_text {
    my ($html) = @_;
    my ($text, $pre) = ('', 0);
    my %block = map { $_ => 1 } qw(p div h1 h2 h3 h4 h5 h6 li tr table ul ol dl dt dd pre br hr blockquote section article header
                                   footer nav main title caption center form);
    my $parser = HTML::Parser->new(api_version => 3, utf8_mode => 0,
        start_h => [sub { my ($tag) = @_; $text .= "\n" if $block{$tag}; $text .= '* ' if $tag eq 'li'; $text .= ' ' if $tag =~ /^t[dh]$/; $pre++ if $tag eq 'pre' }, 'tagname'],
        end_h => [sub { my ($tag) = @_; $text .= "\n" if $block{$tag}; $pre-- if $tag eq 'pre' && $pre }, 'tagname'],
        text_h => [sub { my ($piece) = @_; $piece =~ s/\s+/ /g unless $pre; $text .= $piece }, 'dtext']);
    $parser->ignore_elements(qw(script style));
    $parser->unbroken_text(1);
    $parser->parse($html); $parser->eof;
    $text =~ s/\x{a0}/ /g;
    $text =~ s/[ \t]+\n/\n/g;
    $text =~ s/\n (?=\S)/\n/g;
    $text =~ s/\n(\* \n)+/\n* /g;
    $text =~ s/\n{2,}/\n/g;
    return $text;
}

sub output_of { open my $in, '-|', @_ or die "$_[0]: $!"; local $/; my $bytes = <$in>; close $in; return $bytes // '' }
sub bytes_of { my ($path) = @_; return output_of('gzip', '-dc', $path) if $path =~ /\.(gz|dz)$/; open my $in, '<:raw', $path or die "$path: $!"; local $/; return <$in> // '' }

# One file is one document, or many: fortunes, entries of a dictionary, nodes of an info manual. () if it is no text.
sub texts {
    my ($path, $name) = @_;
    return () if -z $path || -s $path > 20e6;
    if ($name =~ m{/man/.*\.\d\w*$}) {
        return () if bytes_of($path) =~ /^\s*\.so /;
        return html_text(decoded(output_of('mandoc', '-Thtml', '-Ofragment', $path)));
    }
    return html_text(decoded(bytes_of($path))) if $name =~ /\.x?html?$/;
    return () if $name =~ /\.(css|js|svg|png|gif|jpg|ico|pdf|ps|eps|xpm|dat|u8|index|o|a|so|pyc|elc|ods|odt|inv|map|woff2?|ttf|eot|db|zip)$/;
    my $bytes = bytes_of($path);
    return () if substr($bytes, 0, 4096) =~ /\0/;
    my $text = decoded($bytes);
    return split /^%\n/m, $text if $name =~ m{/fortunes/};
    return split /\n(?=\S)/, $text if $name =~ /\.dict$/;
    return map { s/.*\n//r } split /\x1f\n/, $text if $name =~ /\.info(-\d+)?$/;
    if ($name =~ /\.pod$/) { my $out = ''; my $pod = Pod::Text->new(width => 100000, indent => 0, utf8 => 1); $pod->output_string(\$out); $pod->parse_string_document($bytes); return decoded($out) }
    return $text;
}

sub language {
    my ($path) = @_;
    return "$1" if $path =~ m{/man/$code[/_.]} || $path =~ m{/(?:html|translations|\Q$package\E|help)/$code(?:[-_]\w+)?/};
    return "$1" if $package =~ /-$code(-\w\w)?$/;
    return "$1" if $path =~ m{\.$code(?:[-_.]\w+)*\.(?:html|txt)};
    return 'en';
}

my @paths;
find({ no_chdir => 1, wanted => sub { push @paths, $_ if !-l $_ && -f _ } }, $root);
for my $path (sort @paths) {
    my $inside = substr $path, length($root) + 1;
    my $packaging = $inside =~ m{^usr/share/doc/[^/]+/(changelog|copyright|NEWS|README|TODO|AUTHORS)};
    next unless $packaging || $inside =~ /$pattern/;
    next if $inside =~ m{^(etc|usr/share/(lintian|doc-base|bug|info/dir|applications|icons|pixmaps))\b};
    (my $name = $inside) =~ s/\.(gz|dz)$//;
    my @texts = grep { /\w/ } texts($path, $name);
    my $n = 0;
    for my $text (@texts) {
        $text =~ s/\s+\z/\n/; $text =~ s/\A\n+//; $text =~ tr/\0//d;
        my $id = @texts > 1 ? "$package/$name#" . ++$n : "$package/$name";
        my %metadata = (package => $package, version => $version, url => "https://packages.debian.org/bookworm/$package#$inside");
        $metadata{language} = language("/$name") unless $source eq 'code' || $packaging;
        print $json->encode({ id => $id, text => $text, source => $source, created => strftime('%Y-%m-%dT%H:%M:%SZ', gmtime((stat $path)[9])), metadata => \%metadata }), "\n";
    }
}
END

# extract_package SOURCE PACKAGE PATTERN
cat > "$work/one" <<'END'
set -eu
source=$1 package=$2 pattern=$3
out=$TO/documents/$source/$package.jsonl.gz
[ ! -f "$out" ] || exit 0
deb=$(ls "$TO/packages/$package"_*.deb 2>/dev/null | tail -n 1)
[ -n "$deb" ] || exit 0
mkdir -p "$TO/documents/$source"
tree=$(mktemp -d "$WORK/tree.XXXXXX")
dpkg-deb -x "$deb" "$tree"
chmod -R u+rwX "$tree"
perl "$WORK/extract" "$tree" "$source" "$package" "$(dpkg-deb -f "$deb" Version)" "$pattern" > "$tree.jsonl" 2>"$tree.log" ||
    { echo "error: $package: $(tail -n 1 "$tree.log")" >&2; exit 1; }
gzip -6 -n "$tree.jsonl" && mv "$tree.jsonl.gz" "$out"
rm -rf "$tree"
END
echo "extracting the text of $(wc -l < "$work/list") packages"
TO=$to WORK=$work xargs -P "$(nproc)" -L 1 sh "$work/one" < "$work/list" || fail "some packages could not be extracted: see above; run again to go on"

# The table. Bytes are those of the text, as UTF-8.
cd "$to/documents"
for source in *; do
    gzip -dc "$source"/*.jsonl.gz | perl -MJSON::XS -MEncode -ne '
        $d = decode_json($_); $n++; $b += length Encode::encode("UTF-8", $d->{text}); $l{$d->{metadata}{language} // ""}++;
        END { delete $l{""}; printf "%s %d %.1f %d\n", $ARGV[0] // "'"$source"'", $n, $b/1e6, scalar keys %l }'
done | awk 'BEGIN { printf "%-12s %10s %10s %10s\n", "source", "documents", "MB", "languages" }
    { printf "%-12s %10d %10.1f %10d\n", $1, $2, $3, $4; n += $2; b += $3 } END { printf "%-12s %10d %10.1f\n", "all", n, b }'
